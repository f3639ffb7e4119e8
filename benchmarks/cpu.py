"""Speed on a CPU against PyTorch: float32, two threads, alternating runs.

Run from the repository: python benchmarks/cpu.py [--case dit] [--runs 7]
It needs `make reference`; attention alone is compared with jax.nn's. Both
sides get networks of the same sizes with random weights and run in turn, so
that other work on the machine hits both. The table shows medians of seconds on
the clock and of the processors' seconds that this process was given, and the
medians of the ratios of neighbouring runs, and for jax the temporary memory
that the compiler plans. On a machine with other work only
the processors' seconds mean much; set OMP_WAIT_POLICY=passive, or PyTorch's
waiting counts as work.
"""

import argparse
import dataclasses
import functools
import importlib.metadata
import itertools
import os
import statistics
import time
from collections.abc import Callable, Iterator

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


class Compiled:
  """A compiled program with its arguments; `temporary` is in MiB."""

  def __init__(self, function: Callable, *args, calls: int = 1):
    """Compiles for the arguments; a run calls the program `calls` times."""
    self._program = jax.jit(function).lower(*args).compile()
    self._args, self._calls = args, calls
    memory = self._program.memory_analysis()
    self.temporary = memory.temp_size_in_bytes / 2**20

  def __call__(self) -> None:
    """Runs and waits."""
    for _ in range(self._calls):
      jax.block_until_ready(self._program(*self._args))


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
    remat="none",
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
    Case("DiT forward", Compiled(model.apply, params, *inputs), forward),
    Case(
      "DiT forward and backward",
      Compiled(jax.grad(loss), params, *inputs),
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
    return Compiled(functools.partial(model.apply, method=method), params, x)

  return [
    Case("VAE encode", ours("encode", video), encode),
    Case("VAE decode", ours("decode", latents), decode),
  ]


# Queries, keys, heads and width of a head, and calls per run: a handful of
# tokens, the transformers of size nano, tiny (with text) and small, the one
# above (with text), and one head of the published clip (with text).
_ATTENTION = (
  (12, 5, 2, 64, 1000),
  (18, 18, 4, 16, 1000),
  (48, 48, 4, 48, 300),
  (48, 128, 4, 48, 300),
  (288, 288, 8, 64, 20),
  (2496, 2496, 6, 64, 1),
  (2496, 512, 6, 64, 2),
  (10304, 10304, 1, 128, 1),
  (10304, 512, 1, 128, 4),
)


def _attend(implementation: str, backward: bool) -> Callable:
  """Attention, or the gradients of the sum of its squares."""
  run = functools.partial(dispatch.attention, implementation=implementation)
  if not backward:
    return run
  return jax.grad(lambda *x: jnp.sum(run(*x) ** 2), argnums=(0, 1, 2))


def attention() -> Iterator[Case]:
  """What "auto" runs against jax.nn's, a case at a time.

  Both sides start a run anew so often that a run takes milliseconds.
  """
  for (queries, keys, heads, width, calls), backward in itertools.product(
    _ATTENTION, (False, True)
  ):
    arrays = [
      jax.random.normal(jax.random.key(i), (1, tokens, heads, width))
      for i, tokens in enumerate((queries, keys, keys))
    ]
    name = f"{queries} x {keys}, {heads} x {width}"
    sides = [
      Compiled(_attend(implementation, backward), *arrays, calls=calls)
      for implementation in ("auto", "xla")
    ]
    yield Case(f"{name} grad" if backward else name, *sides)


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
    row += f"{ours:9.3g}{theirs:9.3g}{ratio:8.2f}"
  for side in (case.ours, case.theirs):
    if isinstance(side, Compiled):
      row += f"{side.temporary:9.3g}"
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
  heads = f"{'ours':>9}{'other':>9}{'ratio':>8}"
  print(f"{'':<26}{'clock':>26}{'processors':>26}{'temporary MiB':>18}")
  print(f"{f'medians of {options.runs}, seconds':<26}{heads}{heads}")
  for name in CASES if options.case == "all" else [options.case]:
    for case in CASES[name]():
      print(measure(case, options.runs), flush=True)


if __name__ == "__main__":
  main()
