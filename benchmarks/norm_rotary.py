"""Traffic and instructions of norm and rotation on accelerators not there.

Run from the repository, with the compilers of `make test-aot` installed:

    PYTHONPATH=. python benchmarks/norm_rotary.py [--targets v6e:2x2]

It compiles both passes, kernel and plain JAX, in bfloat16 and prints a JSON
line for each: the bytes that XLA says are accessed, as multiples of those of
the tensor, and for the kernel the bundles (very long instructions, one per
cycle without stalls) of a grid step of so many rows. The result is laid out
as the attention kernel reads it.
"""

import argparse
import json
import os
import pathlib
import re
import tempfile

from benchmarks import absent_devices

TARGETS = ",".join(absent_devices.TPU_TARGETS)
HEAD_DIM = 128
CASES = {"1p3b": (9568, 12), "14b": (10304, 40)}  # Tokens and heads.


def compile_pass(device, case: str, name: str, implementation: str):
  """The program of one pass.

  Args:
    device: of a topology.
    case: one of `CASES`.
    name: "forward" or "backward".
    implementation: "mosaic_tpu" or "plain".
  """
  import jax
  import jax.numpy as jnp

  from more4d_jax.kernels.norm_rotary import mosaic_tpu, plain

  tokens, heads = CASES[case]
  room = {"mosaic_tpu": mosaic_tpu, "plain": plain}[implementation]
  options = {"num_heads": heads, "eps": 1e-6}

  def forward(x, scale, angles):
    out = room.forward(x, scale, angles, **options)
    return jnp.swapaxes(out, 1, 2)

  def backward(x, scale, angles, d_out):
    inputs = x, scale, angles, None
    return room.backward(inputs, jnp.swapaxes(d_out, 1, 2), **options)[:2]

  sharding = jax.sharding.SingleDeviceSharding(device)
  shapes = [
    ((1, tokens, heads * HEAD_DIM), jnp.bfloat16),
    ((heads * HEAD_DIM,), jnp.float32),
    ((tokens, HEAD_DIM), jnp.float32),
    ((1, heads, tokens, HEAD_DIM), jnp.bfloat16),
  ]
  arrays = [
    jax.ShapeDtypeStruct(shape, dtype, sharding=sharding)
    for shape, dtype in shapes
  ]
  if name == "forward":
    return jax.jit(forward).lower(*arrays[:3]).compile()
  return jax.jit(backward).lower(*arrays).compile()


def bundles(folder: pathlib.Path, name: str) -> int:
  """Bundles in the listing of a kernel; empties the folder."""
  (listing,) = folder.glob(f"*-norm_rotary_{name}.*-final_bundles.txt")
  found = re.findall(r"^\s*(0x[0-9a-f]+|0)\s", listing.read_text(), re.M)
  for path in folder.iterdir():
    path.unlink()
  return int(found[-1], 16) + 1


def main() -> None:
  """Prints a JSON line for each target, case, pass and implementation."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--targets", default=TARGETS)
  flags = parser.parse_args()
  with tempfile.TemporaryDirectory() as folder:
    os.environ["JAX_PLATFORMS"] = "cpu"
    absent_devices.list_tpu_instructions(folder)
    for target in flags.targets.split(","):
      for line in measure(target, pathlib.Path(folder)):
        print(json.dumps({"target": target, **line}), flush=True)


def measure(target: str, folder: pathlib.Path):
  """Yields the lines of one target."""
  import jax.numpy as jnp

  from more4d_jax.kernels.norm_rotary import mosaic_tpu

  device = absent_devices.tpu_devices(target)[0]
  for case, (tokens, heads) in CASES.items():
    width = heads * HEAD_DIM
    for name in ("forward", "backward"):
      for implementation in ("plain", "mosaic_tpu"):
        program = compile_pass(device, case, name, implementation)
        moved = program.cost_analysis()["bytes accessed"]
        line = {"case": case, "pass": name, "implementation": implementation}
        line["tensors moved"] = round(moved / (2 * tokens * width), 2)
        if implementation == "mosaic_tpu":
          line["bundles"] = bundles(folder, name)
          line["rows"] = mosaic_tpu.tile_rows(tokens, width, jnp.bfloat16)
        else:
          for path in folder.iterdir():
            path.unlink()
        yield line


if __name__ == "__main__":
  main()
