"""Whether generation fits into the devices' memory, before weights are read.

Of each stage the bytes of the weights follow from the checkpoint's headers. For
activations there is a generous bound from sizes alone; only a stage that may
not have room for it is compiled, which it would be anyway, and then its
compiler says what it needs.
"""

import dataclasses
import math
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator

import numpy as np
from jax.sharding import Mesh

from more4d_jax import errors, generation, generation_programs
from more4d_jax.models.encoders import depth, vision_transformer
from more4d_jax.planning import programs, report
from more4d_jax.sampling import caching, sample_strag, sample_vism, stages

# Programs of this size or smaller are known to fit; others are compiled.
_SURE = 0.5
# Bounds of activations. Compilers of CPUs, GPUs and TPUs need less.
_PER_TOKEN = 64  # float32 values of a transformer's tokens, in its widths.
_PER_PIXEL = 24  # Of an autoencoder's pixels, in its first level's widths.
_PER_CONVOLVED = 4  # Of the finest map's places, in the most channels.
_PER_MAP = 2  # Of a depth network's pixels, in the width of its maps.
_PER_COLOUR = 12  # Of a picture's pixels, which it resizes.
_FRAMES_AT_ONCE = 17  # Of an autoencoder, at most.
_PER_POINT = 20  # Bytes of a rendering's points, in each frame.
_PER_RENDERED = 1024  # Bytes of the frame that is rendered, of its pixels.
_LEAST = 2**24  # Bytes, of programs and what else does not grow.

# Field of `Work` -> the stages that it goes through.
_STAGES = {
  "depth": (generation.DEPTH,),
  "scenes": sample_strag.STAGES,
  "rendering": (generation_programs.RENDERING,),
  "films": sample_vism.STAGES,
}

# Networks, and what goes through them.
Asked = tuple[generation.Generator, generation_programs.Work]
# What to do instead, as flags, and what is asked then.
Remedy = tuple[str, Callable[[], Asked]]


@dataclasses.dataclass(frozen=True)
class Need:
  """What a stage takes of each device.

  Attributes:
    stage: which.
    weights: bytes, exactly.
    others: bytes of inputs, activations and results, or a bound of them.
  """

  stage: stages.Stage
  weights: int
  others: int

  @property
  def together(self) -> int:
    """Bytes of both."""
    return self.weights + self.others


def available(mesh: Mesh) -> int | None:
  """Bytes that programs may use of each device; None where that is unknown."""
  device = mesh.devices.flat[0]
  if device.platform == "cpu":
    return machine_memory() // mesh.size  # They share it.
  stats = device.memory_stats() or {}
  if "bytes_limit" not in stats:
    return None
  return stats["bytes_limit"] - stats.get("bytes_in_use", 0)


def machine_memory() -> int:
  """Bytes of memory of this machine that nobody uses."""
  try:
    lines = pathlib.Path("/proc/meminfo").read_text().splitlines()
  except OSError:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
  fields = dict(line.split(":") for line in lines)
  return int(fields["MemAvailable"].split()[0]) * 1024


def check(
  generator: generation.Generator,
  work: generation_programs.Work,
  remedies: Iterable[Remedy] = (),
) -> None:
  """Refuses what the devices have no memory for.

  Args:
    generator: of the networks, whose weights are not read.
    work: what goes through the stages at once.
    remedies: what to do instead, the best first.

  Raises:
    UserError: with the figures, and the first remedy that would do.
  """
  free = available(generator.run.mesh)
  if free is None:
    return
  largest = _too_large(generator, work, free)
  if largest is None:
    return
  advice = "take devices with more memory, or a smaller network"
  for flags, make in remedies:
    other, less = make()
    room = available(other.run.mesh)
    if room is not None and _too_large(other, less, room) is None:
      advice = f"with {flags} it fits"
      break
  sizes = (largest.together, largest.weights, free)
  together, weights, left = (report.gib(size) for size in sizes)
  raise errors.UserError(
    f"{largest.stage.what} ({largest.stage.kind}) would take {together} GiB on "
    f"each device, {weights} of them weights, but {left} GiB are free: {advice}"
  )


def _too_large(
  generator: generation.Generator,
  work: generation_programs.Work,
  free: int,
) -> Need | None:
  """The first stage that does not fit, if there is one."""
  needs = [
    (alone, bounded(generator, stage, alone)) for stage, alone in parts(work)
  ]
  for _, need in needs:
    if need.weights > free:  # Whatever else it takes.
      return dataclasses.replace(need, others=0)
  for alone, need in needs:
    if need.together > _SURE * free:
      exact = compiled(generator, need.stage, alone)
      if exact.together > free:
        return exact
  return None


def parts(
  work: generation_programs.Work,
) -> Iterator[tuple[stages.Stage, generation_programs.Work]]:
  """Each stage, with the part of the work that goes through it."""
  for field, through in _STAGES.items():
    value = getattr(work, field)
    for stage in through if value else ():
      yield stage, generation_programs.Work(**{field: value})


def bounded(
  generator: generation.Generator,
  stage: stages.Stage,
  work: generation_programs.Work,
) -> Need:
  """What a stage needs at most, from sizes alone.

  Args:
    generator: of the networks.
    stage: of those that the work goes through.
    work: as `parts` gives it.
  """
  if work.rendering is not None:
    return Need(stage, 0, _LEAST + _rendering_bytes(work.rendering))
  networks = generator.networks
  weights = networks.weight_bytes(stage.kind, stage.parts)
  config = networks.network(stage.kind).config
  if work.depth is not None:
    values = _depth_values(config, work.depth)
  else:
    values = _sampler_values(generator, stage, work)
  return Need(stage, weights, _LEAST + 4 * values)


def _rendering_bytes(shape: tuple[int, int, int]) -> int:
  """Bytes of a rendering: points and colours of all frames, and of one more."""
  frames, height, width = shape
  return height * width * (frames * _PER_POINT + _PER_RENDERED)


def _depth_values(config: depth.DepthConfig, size: tuple[int, int]) -> int:
  """Values of the depth network, for a picture of (H, W)."""
  rows, columns = config.working_size(*size)
  patches = rows * columns // config.patch**2
  if config.trunk == "convolutional":
    # Each map has half of the rows and columns of the one before.
    finest = 16 * patches * max(config.reassemble)
    trunk = finest * _PER_CONVOLVED
  else:
    tokens = patches + 1
    trunk = tokens * config.width * (_PER_TOKEN + config.num_layers)
    trunk += 2 * config.num_heads * tokens**2
  head = rows * columns * config.features * _PER_MAP
  return trunk + head + math.prod(size) * _PER_COLOUR


def _sampler_values(
  generator: generation.Generator,
  stage: stages.Stage,
  work: generation_programs.Work,
) -> int:
  """Values of a stage of one of the samplers."""
  networks = generator.networks
  kind, batch = ("strag", work.scenes) if work.scenes else ("vism", work.films)
  config = networks.network(stage.kind).config
  frames, height, width = networks.size(kind)
  if stage.kind.endswith("vae"):
    vae = getattr(config, "vae", config)
    pixels = height * width * min(frames, _FRAMES_AT_ONCE)
    # A picture and its depth go together.
    return pixels * vae.width * 2 * batch * _PER_PIXEL
  if stage.parts == ("transformer",):
    halves = 1 + bool(caching.guided_steps(networks.sampler(stage.kind)))
    grid = ((frames - 1) // 4 + 2, height // 8, width // 8)  # With a reference.
    tokens = math.prod(grid) // math.prod(config.dit.patch)
    return tokens * config.dit.width * halves * batch * _PER_TOKEN
  if stage.parts == ("text_encoder",):  # One text after the other.
    return config.text.length * config.text.width * _PER_TOKEN
  encoders = [getattr(config, name, None) for name in ("image", "motion")]
  return batch * _PER_TOKEN * sum(map(_values, filter(None, encoders)))


def _values(encoder: vision_transformer.VisionTransformerConfig) -> int:
  """Values of the tokens of a picture."""
  sides = np.broadcast_to(encoder.image_size, 2) // encoder.patch
  return (int(np.prod(sides)) + 1) * encoder.width


def compiled(
  generator: generation.Generator,
  stage: stages.Stage,
  work: generation_programs.Work,
) -> Need:
  """What a stage needs, as the compiler of its program says.

  The program is that of the run, so that a cache of programs keeps it.

  Args:
    generator: of the networks.
    stage: of those that the work goes through.
    work: as `parts` gives it.
  """
  traced = generation_programs.traced(
    generator.networks, work, generator.options
  )
  (program,) = (one for which, one in traced if which == stage)
  figures = programs.compile_program(program)
  weights = figures.held.get("parameters", 0)
  return Need(stage, weights, figures.together - weights)
