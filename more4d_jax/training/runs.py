"""What a training consists of, and when it does what."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jax.sharding import Mesh

from more4d_jax import locations
from more4d_jax.checkpoints import training_states
from more4d_jax.training import prefetch, throughput
from more4d_jax.training import state as states
from more4d_jax.training import step as steps

_KEEPING = training_states.Keeping()
_NO_WORK = throughput.Work(samples=0)

# (state, number of finished steps, directory for videos) -> figures
Evaluator = Callable[
  [states.TrainState, int, locations.Location], Mapping[str, float]
]


@dataclasses.dataclass(frozen=True)
class LoopConfig:
  """Length of a run, and intervals of its regular work.

  Attributes:
    num_steps: the run ends after this many steps in all.
    log_every: steps between updates of the progress bar and of the files.
    checkpoint_every: steps between checkpoints; the last step always has one,
      and every state that is evaluated.
    checkpoint_minutes: time between checkpoints; 0 for steps alone.
    keep: which checkpoints stay.
    background: see `training_states.TrainingCheckpoints`.
    evaluate_every: steps between evaluations; 0 means at the end only.
    skip_limit: number of skipped steps in a row that ends the run.
    profile: first and last step of a profile, if any.
  """

  num_steps: int
  log_every: int = 10
  checkpoint_every: int = 200
  checkpoint_minutes: float = 0.0
  keep: training_states.Keeping = _KEEPING
  background: bool | None = None
  evaluate_every: int = 0
  skip_limit: int = 100
  profile: tuple[int, int] | None = None


@dataclasses.dataclass(frozen=True)
class Training:
  """Everything that the loop needs.

  Attributes:
    name: shown beside the progress bar.
    mesh: where batches go.
    create: makes the first state, sharded.
    abstract: the state's shapes with shardings.
    step: the compiled train step.
    frozen: parameters that are not trained, on the mesh.
    loader: batches of examples.
    evaluators: run on held-out records.
    config: length of the run, and intervals of its regular work.
    seed: stored with each checkpoint.
    trained_on: kind -> identity of the networks that this one is built on,
      also stored with each checkpoint.
    work: of a step, for figures of its speed.
    explain: (state, batch, position of the loader after it, number of the
      step) -> what there is to say of a step that was not finite.
  """

  name: str
  mesh: Mesh
  create: Callable[[], states.TrainState]
  abstract: states.TrainState
  step: steps.StepFn
  frozen: Any
  loader: prefetch.Loader
  evaluators: Sequence[Evaluator]
  config: LoopConfig
  seed: int
  trained_on: Mapping[str, str] = dataclasses.field(default_factory=dict)
  work: throughput.Work = _NO_WORK
  explain: Callable[[states.TrainState, Any, Any, int], str] | None = None
