"""Memory of attention against the number of tokens.

Run from the repository: PYTHONPATH=. python benchmarks/attention_memory.py
It compiles and runs nothing: the table shows the MiB of temporaries that the
compilers reserve beside arguments and results, for 12 heads of width 128 in
bfloat16 (float32 on CPU). Rows of TPUs need libtpu (`make test-aot`).
"""

import importlib.util
import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import jax.numpy as jnp

from more4d_jax.kernels.attention import dispatch
from more4d_jax.planning import absent_devices

TOKENS = (2_576, 5_152, 10_304, 20_608)
TARGETS = ("v5p:2x2x1", "v6e:2x2")


def temporaries(
  device: jax.Device, tokens: int, dtype: str, *, backward: bool
) -> int:
  """Bytes of temporaries of self-attention, alone or with its gradients."""

  def loss(q, k, v):
    return jnp.sum(dispatch.attention(q, k, v).astype(jnp.float32))

  function = jax.grad(loss, (0, 1, 2)) if backward else dispatch.attention
  x = jax.ShapeDtypeStruct(
    (1, tokens, 12, 128),
    dtype,
    sharding=jax.sharding.SingleDeviceSharding(device),
  )
  compiled = jax.jit(function).lower(x, x, x).compile()
  return compiled.memory_analysis().temp_size_in_bytes


def main() -> None:
  """Prints the table."""
  devices = {"cpu, float32": (jax.devices()[0], "float32")}
  if importlib.util.find_spec("libtpu") is not None:
    for target in TARGETS:
      device = absent_devices.tpu_devices(target)[0]
      devices[f"{target}, bfloat16"] = device, "bfloat16"
  print(f"jax {jax.__version__}")
  print(f"| tokens | {' | '.join(map(str, TOKENS))} |")
  print("|---" + "|---:" * len(TOKENS) + "|")
  for name, (device, dtype) in devices.items():
    for backward in (False, True):
      cells = [
        f"{temporaries(device, n, dtype, backward=backward) / 2**20:.1f}"
        for n in TOKENS
      ]
      what = "gradients" if backward else "forward"
      print(f"| {name}, {what} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
  main()
