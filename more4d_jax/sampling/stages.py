"""What a sampler is run with: networks lent for a stage, a mesh, a listener.

A sampler is a row of stages, each with its own programs. A stage borrows the
parts of networks that it needs, goes through all batches with them, keeps on
the host what later stages take, and gives the parts back. So weights are read
once for a stage and not once for a picture, and the device never holds two
transformers, or one beside a text encoder.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float, Int

from more4d_jax import partitioning
from more4d_jax.sampling import (
  caching,
  denoising,
  networks,
  sampler_options,
)

# (kind of network, names of its parts) -> the network with these parts, which
# may leave the device when the block ends.
Lend = Callable[
  [str, Sequence[str] | None],
  contextlib.AbstractContextManager[networks.BoundModule],
]
# What is being done, how many parts of it are done, and of how many.
Report = Callable[[str, int, int], None]
_Item = TypeVar("_Item")


class Stage(NamedTuple):
  """A part of a sampler, and what is on the devices for it.

  Attributes:
    what: is done, for reports.
    kind: of network.
    parts: of this network, see `registry`.
  """

  what: str
  kind: str
  parts: tuple[str, ...]


def silent(what: str, done: int, total: int) -> None:
  """Tells nobody."""
  del what, done, total


@dataclasses.dataclass(frozen=True)
class Job:
  """One latent to draw.

  Attributes:
    conditions: of the prompts.
    negative: of what guidance leads away from, or None.
    noise: standard normal.
  """

  conditions: Any
  negative: Any | None
  noise: Float[np.ndarray, "B t h w C"]

  def sample(self, row: int) -> "Job":
    """One of the batch, as a batch of one."""
    one = slice(row, row + 1)
    conditions, negative = jax.tree.map(
      lambda x: x[one], (self.conditions, self.negative)
    )
    return Job(conditions, negative, self.noise[one])


# Kind of network, what was to be drawn, and what was drawn; on the host.
Keep = Callable[[str, Job, denoising.Drawn], None]


def forget(kind: str, job: Job, drawn: denoising.Drawn) -> None:
  """Keeps nothing."""
  del kind, job, drawn


@dataclasses.dataclass(frozen=True)
class Stages:
  """Networks, where they run, and who is told how far they are.

  Attributes:
    lend: borrows parts of a network.
    mesh: the devices, on which `lend` puts the parts.
    report: told before each part of a stage, and at its end. What it raises
      ends the work between two steps.
    halves: how both halves of guidance run, one of `guidance.HALVES`.
    keep: given each latent that was drawn, with its conditions.
  """

  lend: Lend
  mesh: Mesh = dataclasses.field(default_factory=partitioning.one_device)
  report: Report = silent
  halves: str = "batch"
  keep: Keep = forget

  def call(
    self, program: Callable[..., Any], *args: Any, **options: Any
  ) -> Any:
    """Calls a compiled program and fetches what it gives."""
    with jax.set_mesh(self.mesh):
      return partitioning.fetch(program(*args, **options))

  def borrow(
    self, stage: Stage
  ) -> contextlib.AbstractContextManager[networks.BoundModule]:
    """Borrows what a stage needs."""
    return self.lend(stage.kind, stage.parts)

  def counted(self, stage: Stage, items: Sequence[_Item]) -> Iterator[_Item]:
    """Goes through a stage's batches and reports each."""
    for done, item in enumerate(items):
      self.report(stage.what, done, len(items))
      yield item
    self.report(stage.what, len(items), len(items))

  def text_contexts(
    self, stage: Stage, tokens: Iterable[Int[np.ndarray, "L"]]
  ) -> list[Float[np.ndarray, "L E"]]:
    """Features of captions, each on its own, so that none depends on others.

    Args:
      stage: of the network whose text encoder is meant.
      tokens: of each caption.
    """
    tokens = list(tokens)
    if not tokens:
      return []
    with self.borrow(stage) as model:
      return [
        self.call(_text_context, model, one[None])[0]
        for one in self.counted(stage, tokens)
      ]

  def draw(
    self,
    stage: Stage,
    jobs: Sequence[Job],
    sampler: sampler_options.SamplerConfig,
  ) -> list[denoising.Drawn]:
    """Draws latents one after the other with the same transformer.

    Args:
      stage: of the network; the report counts the steps of all.
      jobs: what is drawn.
      sampler: steps, guidance, schedule.
    """
    total, found = len(jobs) * sampler.num_steps, []
    with self.borrow(stage) as model:
      self.report(stage.what, 0, total)
      for done, job in enumerate(jobs):
        before = done * sampler.num_steps

        def after_step(number: int, latents: Any, before: int = before) -> None:
          del latents
          self.report(stage.what, before + number + 1, total)

        drawn = self.call(
          denoising.draw,
          model,
          job.conditions,
          job.negative,
          job.noise,
          sampler,
          halves=self.halves,
          after_step=after_step,
        )
        found.append(drawn)
        self.keep(stage.kind, job, drawn)
    return found


@jax.jit
def _text_context(model: networks.BoundModule, tokens: Any) -> Any:
  return model(tokens, method="text_context")


def jobs_of(
  batches: Sequence[Any],
  conditions: Iterable[Any],
  sampler: sampler_options.SamplerConfig,
) -> list[Job]:
  """What is to be drawn for each batch.

  Args:
    batches: with `noise`, and `negative_context` [B L E] where guidance takes
      part.
    conditions: of each; all but the text is alike in what guidance leads away
      from.
    sampler: whose guidance decides.
  """
  guided = caching.guided_steps(sampler)
  return [
    Job(
      given,
      given.replace(text_context=batch.negative_context) if guided else None,
      batch.noise,
    )
    for batch, given in zip(batches, conditions)
  ]
