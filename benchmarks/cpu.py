"""Speed on a CPU against PyTorch: float32, two threads, alternating runs.

Run from the repository: python benchmarks/cpu.py [--case dit] [--runs 7]
It needs `make reference`; attention alone is compared with jax.nn's. Both
sides get networks of the same sizes with random weights and run in turn, so
that other work on the machine hits both. The table shows medians of seconds on
the clock and of the processors' seconds that this process was given, and the
medians of the ratios of neighbouring runs. On a machine with other work only
the processors' seconds mean much; set OMP_WAIT_POLICY=passive, or PyTorch's
waiting counts as work.
"""

import argparse
import dataclasses
import functools
import importlib.metadata
import os
import statistics
import time
from collections.abc import Callable

_THREADS = 2


def _use_two_cores() -> None:
  """Keeps this process on two cores; jax takes a thread for each of them."""
  cores = sorted(os.sched_getaffinity(0))[:_THREADS]
  os.sched_setaffinity(0, cores)


_use_two_cores()
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import diffusers  # noqa: E402
import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import torch  # noqa: E402

from more4d_jax import partitioning  # noqa: E402
from more4d_jax.kernels.attention import dispatch  # noqa: E402
from more4d_jax.models import backbone, video_vae  # noqa: E402

# Latent frames, rows and columns; tokens are 1 x 2 x 2 of them: 2496.
_GRID = (13, 24, 32)
_WIDTH, _LAYERS, _HEADS, _FFN = 384, 8, 6, 1536
_CLIP = (17, 128, 192)
_VAE_WIDTH = 32


@dataclasses.dataclass(frozen=True)
class Case:
  """One row of the table.

  Attributes:
    ours: runs once and waits for the result.
    theirs: the same in PyTorch, or for attention in jax.nn.
  """

  name: str
  ours: Callable[[], None]
  theirs: Callable[[], None]


def _ours(function: Callable, *args) -> Callable[[], None]:
  compiled = jax.jit(function).lower(*args).compile()
  return lambda: jax.block_until_ready(compiled(*args))


def _params(module, *args, **kwargs):
  init = jax.jit(functools.partial(module.init, **kwargs))
  return partitioning.unbox(init(jax.random.key(0), *args))


def dit() -> list[Case]:
  """Transformer: forward, and forward with the gradients of all weights."""
  config = backbone.DiTConfig(
    width=_WIDTH,
    ffn_width=_FFN,
    num_heads=_HEADS,
    num_layers=_LAYERS,
    in_channels=16,
    remat=False,
  )
  model = backbone.WanDiT(config)
  latents = jax.random.normal(jax.random.key(1), (1, *_GRID, 16))
  text = jax.random.normal(jax.random.key(2), (1, 512, 4096))
  inputs = (latents, jnp.array([500.0]), text)
  params = _params(model, *inputs)

  def loss(params, *inputs):
    return jnp.mean(jnp.square(model.apply(params, *inputs)))

  other = diffusers.WanTransformer3DModel(
    num_attention_heads=_HEADS,
    attention_head_dim=_WIDTH // _HEADS,
    ffn_dim=_FFN,
    num_layers=_LAYERS,
  )
  numbers = (
    torch.randn(1, 16, *_GRID),
    torch.tensor([500.0]),
    torch.randn(1, 512, 4096),
  )

  def forward():
    with torch.no_grad():
      other(*numbers)

  def backward():
    other.zero_grad()
    other(*numbers, return_dict=False)[0].square().mean().backward()

  return [
    Case("DiT forward", _ours(model.apply, params, *inputs), forward),
    Case(
      "DiT forward and backward",
      _ours(jax.grad(loss), params, *inputs),
      backward,
    ),
  ]


def vae() -> list[Case]:
  """Video autoencoder: encoding and decoding."""
  model = video_vae.VideoVAE(video_vae.VideoVAEConfig(width=_VAE_WIDTH))
  video = jax.random.uniform(jax.random.key(1), (1, *_CLIP, 3))
  shape = model.config.latent_shape(*_CLIP)
  latents = jax.random.normal(jax.random.key(2), (1, *shape))
  small = jnp.zeros((1, 5, 16, 16, 3))
  params = _params(model, small)
  other = diffusers.AutoencoderKLWan(base_dim=_VAE_WIDTH)
  pixels = torch.rand(1, 3, *_CLIP)
  numbers = torch.randn(1, shape[-1], *shape[:3])

  def encode():
    with torch.no_grad():
      other.encode(pixels)

  def decode():
    with torch.no_grad():
      other.decode(numbers)

  def ours(method, x):
    return _ours(functools.partial(model.apply, method=method), params, x)

  return [
    Case("VAE encode", ours("encode", video), encode),
    Case("VAE decode", ours("decode", latents), decode),
  ]


# Queries, keys, heads and width of a head: self-attention of the transformer
# above, its attention to text, a small picture's, and one head of a long clip.
_ATTENTION = (
  (2496, 2496, 6, 64),
  (2496, 512, 6, 64),
  (256, 256, 6, 64),
  (10304, 10304, 1, 128),
)


def attention() -> list[Case]:
  """Attention, forward and backward: what "auto" runs against jax.nn's."""
  cases = []
  for queries, keys, heads, width in _ATTENTION:
    arrays = [
      jax.random.normal(jax.random.key(i), (1, tokens, heads, width))
      for i, tokens in enumerate((queries, keys, keys))
    ]

    def run(implementation, arrays=arrays):
      attend = functools.partial(
        dispatch.attention, implementation=implementation
      )
      return _ours(
        jax.grad(lambda *qkv: jnp.sum(attend(*qkv) ** 2), argnums=(0, 1, 2)),
        *arrays,
      )

    name = f"{queries} x {keys}, {heads} heads"
    cases.append(Case(name, run("auto"), run("xla")))
  return cases


def _seconds(function: Callable[[], None]) -> tuple[float, float]:
  """Seconds on the clock, and of all processors for this process."""
  start = time.perf_counter(), time.process_time()
  function()
  return time.perf_counter() - start[0], time.process_time() - start[1]


def measure(case: Case, runs: int) -> str:
  """Times a case in alternating runs; returns its row of the table."""
  case.ours()
  case.theirs()
  pairs = [(_seconds(case.ours), _seconds(case.theirs)) for _ in range(runs)]
  row = f"{case.name:<26}"
  for which in (0, 1):
    ours = statistics.median(a[which] for a, _ in pairs)
    theirs = statistics.median(b[which] for _, b in pairs)
    ratio = statistics.median(a[which] / b[which] for a, b in pairs)
    row += f"{ours:8.2f}{theirs:9.2f}{ratio:8.2f}"
  return row


CASES = {"dit": dit, "vae": vae, "attention": attention}


def main() -> None:
  """Prints the table."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--case", choices=[*CASES, "all"], default="all")
  parser.add_argument("--runs", type=int, default=7)
  options = parser.parse_args()
  torch.set_num_threads(_THREADS)
  torch.manual_seed(0)
  versions = [
    f"{name} {importlib.metadata.version(name)}"
    for name in ("jax", "torch", "diffusers")
  ]
  print(f"{', '.join(versions)}; float32, {_THREADS} threads")
  heads = f"{'ours':>8}{'other':>9}{'ratio':>8}"
  print(f"{'':<26}{'clock':>25}{'processors':>25}")
  print(f"{f'medians of {options.runs}, seconds':<26}{heads}{heads}")
  for name in CASES if options.case == "all" else [options.case]:
    for case in CASES[name]():
      print(measure(case, options.runs), flush=True)


if __name__ == "__main__":
  main()
