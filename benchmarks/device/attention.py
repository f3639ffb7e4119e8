"""Attention of the real models: ours, cuDNN through jax.nn, and PyTorch's."""

import jax

from benchmarks.device import measuring
from more4d_jax.kernels import timing
from more4d_jax.kernels.attention import benchmark, cases

_CASES = ("1p3b/self/10304/whole", "14b/self/10304/whole")
_IMPLEMENTATIONS = ("auto", "cudnn", "plain")


def _torch_passes(case: cases.Case):
  """PyTorch's fused attention forward, and forward with backward."""
  import torch

  if not torch.cuda.is_available():
    raise RuntimeError("PyTorch sees no GPU")
  shape = case.batch, case.heads, case.queries, case.width
  q, k, v = (
    torch.randn(shape, device="cuda", dtype=torch.bfloat16).requires_grad_()
    for _ in range(3)
  )
  cotangent = torch.randn_like(q)
  run = torch.nn.functional.scaled_dot_product_attention

  def forward():
    with torch.no_grad():
      run(q, k, v)
    torch.cuda.synchronize()
    return ()

  def both():
    run(q, k, v).backward(cotangent)
    torch.cuda.synchronize()
    return ()

  return {"forward": forward, "forward and backward": both}


def _torch(case: cases.Case) -> None:
  line = {"case": case.name, "implementation": "torch"}
  try:
    passes = _torch_passes(case)
  except (ImportError, RuntimeError) as error:
    measuring.say({**line, "error": str(error)})
    return
  for name, run in passes.items():
    taken = timing.seconds(run, 10)
    flops = case.flops() + ("back" in name) * case.flops(backward=True)
    measuring.say(
      {
        **line,
        "pass": name,
        "milliseconds": round(1e3 * taken, 3),
        **measuring.speed(flops, taken),
      }
    )


def main() -> None:
  """Prints a line for each case, implementation and pass."""
  short = measuring.reduced(__doc__)
  for name in _CASES:
    case = cases.CASES[name].reduced() if short else cases.CASES[name]
    for implementation in _IMPLEMENTATIONS:
      with jax.set_mesh(measuring.device_mesh()):
        found = benchmark.measure(case, implementation, "bfloat16", 10)
      for line in found:
        measuring.say(line)
    _torch(case)


if __name__ == "__main__":
  main()
