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
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jax.sharding import Mesh

from more4d_jax import errors, generation, generation_plan
from more4d_jax.models.encoders import vision_transformer
from more4d_jax.planning import programs, report
from more4d_jax.sampling import caching, sample_strag, sample_vism, stages

# Programs of this size or smaller are known to fit; others are compiled.
_SURE = 0.5
# Bounds of activations. Compilers of CPUs, GPUs and TPUs need less.
_PER_TOKEN = 64  # float32 values of a transformer's tokens, in its widths.
_PER_PIXEL = 24  # Of an autoencoder's pixels, in its first level's widths.
_FRAMES_AT_ONCE = 17  # Of an autoencoder, at most.
_LEAST = 2**24  # Bytes, of programs and what else does not grow.

# Kind of network -> the stages of its sampler.
_STAGES = {"strag": sample_strag.STAGES, "vism": sample_vism.STAGES}

# What to do instead, as flags, and the networks that it gives.
Remedy = tuple[str, Callable[[], generation.Generator]]


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
  samples: Mapping[str, int],
  remedies: Sequence[Remedy] = (),
) -> None:
  """Refuses what the devices have no memory for.

  Args:
    generator: of the networks, whose weights are not read.
    samples: kind of network -> how many scenes or films go through it at once.
    remedies: what to do instead, the best first.

  Raises:
    UserError: with the figures, and the first remedy that would do.
  """
  free = available(generator.run.mesh)
  if free is None:
    return
  largest = _too_large(generator, samples, free)
  if largest is None:
    return
  advice = "take devices with more memory, or a smaller network"
  for flags, make in remedies:
    other = make()
    room = available(other.run.mesh)
    if room is not None and _too_large(other, samples, room) is None:
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
  samples: Mapping[str, int],
  free: int,
) -> Need | None:
  """The first stage that does not fit, if there is one."""
  needs = [
    (kind, bounded(generator, kind, stage, samples[kind]))
    for kind in samples
    for stage in _STAGES[kind]
  ]
  for _, need in needs:
    if need.weights > free:  # Whatever else it takes.
      return dataclasses.replace(need, others=0)
  for kind, need in needs:
    if need.together > _SURE * free:
      exact = compiled(generator, kind, need.stage, samples[kind])
      if exact.together > free:
        return exact
  return None


def bounded(
  generator: generation.Generator, kind: str, stage: stages.Stage, batch: int
) -> Need:
  """What a stage needs at most, from sizes alone.

  Args:
    generator: of the networks.
    kind: of the network that is sampled.
    stage: of its sampler.
    batch: samples that go through a network at once.
  """
  networks = generator.networks
  weights = networks.weight_bytes(stage.kind, stage.parts)
  config = networks.network(stage.kind).config
  frames, height, width = networks.size(kind)
  if stage.kind.endswith("vae"):
    vae = getattr(config, "vae", config)
    pixels = height * width * min(frames, _FRAMES_AT_ONCE)
    # A picture and its depth go together.
    values = pixels * vae.width * 2 * batch * _PER_PIXEL
  elif stage.parts == ("transformer",):
    halves = 1 + bool(caching.guided_steps(networks.sampler(stage.kind)))
    grid = ((frames - 1) // 4 + 2, height // 8, width // 8)  # With a reference.
    tokens = math.prod(grid) // math.prod(config.dit.patch)
    values = tokens * config.dit.width * halves * batch * _PER_TOKEN
  elif stage.parts == ("text_encoder",):  # One text after the other.
    values = config.text.length * config.text.width * _PER_TOKEN
  else:
    encoders = [getattr(config, name, None) for name in ("image", "motion")]
    values = batch * _PER_TOKEN * sum(map(_values, filter(None, encoders)))
  return Need(stage, weights, _LEAST + 4 * values)


def _values(encoder: vision_transformer.VisionTransformerConfig) -> int:
  """Values of the tokens of a picture."""
  sides = np.broadcast_to(encoder.image_size, 2) // encoder.patch
  return (int(np.prod(sides)) + 1) * encoder.width


def compiled(
  generator: generation.Generator, kind: str, stage: stages.Stage, batch: int
) -> Need:
  """What a stage needs, as the compiler of its program says.

  The program is that of the run, so that a cache of programs keeps it.

  Args:
    generator: of the networks.
    kind: of the network that is sampled.
    stage: of its sampler.
    batch: samples that go through a network at once.
  """
  options = dataclasses.replace(generator.options, batch=batch)
  traced = generation_plan.traced(generator.networks, options, [kind])
  (program,) = (one for which, one in traced if which == stage)
  figures = programs.compile_program(program)
  weights = figures.held["parameters"]
  return Need(stage, weights, figures.together - weights)
