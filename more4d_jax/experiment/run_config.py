"""The configuration of a run: what every task has, and sections of several.

The values stand in `configs/`; here are the fields with their types and
ranges. A task adds its own sections in a subclass beside the task.
"""

import dataclasses
import math
from typing import Any

from more4d_jax import errors, partitioning
from more4d_jax.checkpoints import training_states
from more4d_jax.geometry import motion
from more4d_jax.kernels.attention import context_parallel, dispatch
from more4d_jax.kernels.norm_rotary import dispatch as norm_rotary
from more4d_jax.models import flow_matching, variants
from more4d_jax.models import lora as lora_model
from more4d_jax.sampling import sampler_options
from more4d_jax.training import memory, optimizer, profiling, runs
from more4d_jax.training import state as states

_SWITCH = {"auto": None, "on": True, "off": False}


@dataclasses.dataclass(frozen=True)
class Limits:
  """What a field may be.

  Attributes:
    low: smallest number.
    high: largest number.
    choices: the names there are; empty for any.
  """

  low: float | int = -math.inf
  high: float | int = math.inf
  choices: tuple[str, ...] = ()


def setting(*, may_change: bool = False, **limits: Any) -> Any:
  """A field with its limits.

  Args:
    may_change: whether a later start of the same run may give it another
      value, because the result does not depend on it.
    **limits: of `Limits`.
  """
  return dataclasses.field(
    metadata={"limits": Limits(**limits), "may_change": may_change}
  )


@dataclasses.dataclass(frozen=True)
class DataConfig:
  """Where records come from and how they are read; see `configs.common`."""

  records: str
  held_out: str
  num_held_out: int
  limit: int = setting(low=0)
  weights: str
  max_damaged: int = setting(low=0)
  shuffle: bool
  workers: int = setting(low=0, may_change=True)
  threads: int = setting(low=1, may_change=True)


@dataclasses.dataclass(frozen=True)
class CachedDataConfig(DataConfig):
  """Records, of which frozen networks make the conditions of training.

  Attributes:
    conditions: "cached": made once and kept; "online": made for each step.
    cache: directory of what is kept; empty for one in the workdir.
    random_crop: whether pictures are cut out at a random place.
    variants: under how many random choices each record is kept.
  """

  conditions: str = setting(choices=("cached", "online"))
  cache: str
  random_crop: bool
  variants: int = setting(low=1)

  def __post_init__(self) -> None:
    if self.variants > 1 and self.conditions == "online":
      raise ValueError(
        f"variants is {self.variants}, but random choices are new in each step "
        "with data.conditions=online: set it to 1"
      )


@dataclasses.dataclass(frozen=True)
class CheckpointConfig:
  """How often the state is written, and which states stay.

  Attributes:
    every: steps between checkpoints; 0 for the time alone.
    minutes: between checkpoints; 0 for the steps alone.
    keep: number of the newest that stay.
    keep_best: besides, number of those with the lowest held-out loss.
    keep_hours: besides, one for each such time stays; 0 for none.
    background: whether training goes on while a state is written, which holds
      a copy of it in the hosts' memory; "auto": on accelerators.
  """

  every: int = setting(low=0, may_change=True)
  minutes: float = setting(low=0, may_change=True)
  keep: int = setting(low=1, may_change=True)
  keep_best: int = setting(low=0, may_change=True)
  keep_hours: float = setting(low=0, may_change=True)
  background: str = setting(choices=("auto", "on", "off"), may_change=True)


@dataclasses.dataclass(frozen=True)
class EvaluationConfig:
  """Figures and videos on held-out records.

  Attributes:
    every: steps between evaluations; 0 for the end only.
    records: at most this number of records.
    videos: how many of them are saved as videos.
  """

  every: int = setting(low=0, may_change=True)
  records: int = setting(low=1, may_change=True)
  videos: int = setting(low=0, may_change=True)


@dataclasses.dataclass(frozen=True)
class AugmentConfig:
  """Random choices of `data.transforms.ExampleOptions`."""

  random_crop: bool
  mirror_rate: float = setting(low=0, high=1)


@dataclasses.dataclass(frozen=True)
class MotionConfig:
  """How trajectories become motion.

  Attributes:
    normalisation: one of `geometry.motion.MODES`.
    alpha: "intrinsics" for each record's own, or a fixed pair "ax,ay".
  """

  normalisation: str = setting(choices=motion.MODES)
  alpha: str

  def __post_init__(self) -> None:
    self.read()

  def read(self) -> motion.MotionNormalisation:
    """The normalisation itself.

    Raises:
      ValueError: if the factors are no pair of numbers.
    """
    if self.alpha == "intrinsics":
      return motion.MotionNormalisation(self.normalisation)
    try:
      ax, ay = (float(number) for number in self.alpha.split(","))
    except ValueError as error:
      raise ValueError(
        f"alpha is {self.alpha!r}: expected intrinsics or two numbers as in "
        "1.04,1"
      ) from error
    return motion.MotionNormalisation(self.normalisation, (ax, ay))


@dataclasses.dataclass(frozen=True, kw_only=True)
class TransformerConfig:
  """Switches of a transformer and its encoders.

  Attributes:
    attention: implementation of `kernels.attention`.
    norm_rotary: implementation of `kernels.norm_rotary`.
    context_attention: form of attention where `mesh.context` divides.
    train_text_encoder: beside the transformer.
    train_image_encoder: beside the transformer, where there is one.
    lora_rank: above 0 a LoRA of this rank is trained instead of the network.
    lora_alpha: the LoRA's product is scaled by alpha / rank.
  """

  attention: str = setting(choices=dispatch.IMPLEMENTATIONS, may_change=True)
  norm_rotary: str = setting(
    choices=norm_rotary.IMPLEMENTATIONS, may_change=True
  )
  context_attention: str = setting(
    choices=context_parallel.FORMS, may_change=True
  )
  train_text_encoder: bool
  train_image_encoder: bool
  lora_rank: int = 0
  lora_alpha: float = 64.0

  def __post_init__(self) -> None:
    rank, alpha = self.lora_rank, self.lora_alpha
    if rank < 0 or not (math.isfinite(alpha) and alpha > 0):
      raise ValueError(
        f"lora_rank is {rank} and model.lora_alpha {alpha}: expected a rank "
        "of 0 (no LoRA) or more, and a positive alpha"
      )

  @property
  def lora(self) -> lora_model.LoRAConfig | None:
    """What is trained instead of the network, if anything."""
    if not self.lora_rank:
      return None
    return lora_model.LoRAConfig(self.lora_rank, self.lora_alpha)


@dataclasses.dataclass(frozen=True)
class RunConfig:
  """What the configuration of every task has.

  Attributes:
    task: a kind of `registry.NETWORKS`.
    size: a name of `models.variants`.
    seed: of the initial values, the order of records and every random choice.
    batch_size: of all devices together.
    num_steps: in all; the same command goes on from where it is.
    log_every: steps between renewals of the progress bar and of the files.
    skip_limit: this number of skipped steps in a row ends the run.
    profile: "START:STOP" for a profile of these steps; empty for none.
    dtype: of matrix products.
    data, optimizer, memory, mesh, checkpoint, evaluation: sections.
  """

  task: str
  size: str = setting(choices=tuple(variants.VARIANTS))
  seed: int
  batch_size: int = setting(low=1)
  num_steps: int = setting(low=1)
  log_every: int = setting(low=1, may_change=True)
  skip_limit: int = setting(low=1, may_change=True)
  profile: str = setting(may_change=True)
  dtype: str = setting(choices=("float32", "bfloat16"))
  data: DataConfig
  optimizer: optimizer.OptimizerConfig
  memory: memory.MemoryConfig
  mesh: partitioning.MeshConfig = setting(may_change=True)
  checkpoint: CheckpointConfig
  evaluation: EvaluationConfig

  def __post_init__(self) -> None:
    profiling.parse(self.profile)
    if self.batch_size % self.memory.accumulate:
      raise errors.UserError(
        f"batch_size is {self.batch_size}, but memory.accumulate makes "
        f"{self.memory.accumulate} parts of it: use a multiple"
      )

  @property
  def kept(self) -> states.StateOptions:
    """What the state holds besides parameters and optimizer."""
    return states.StateOptions(
      window=self.optimizer.window,
      average=self.optimizer.averages,
      average_on_host=self.memory.average == "host",
    )

  @property
  def loop(self) -> runs.LoopConfig:
    """How long the loop runs and how often it does what."""
    return runs.LoopConfig(
      num_steps=self.num_steps,
      log_every=self.log_every,
      checkpoint_every=self.checkpoint.every,
      checkpoint_minutes=self.checkpoint.minutes,
      keep=training_states.Keeping(
        self.checkpoint.keep,
        self.checkpoint.keep_best,
        self.checkpoint.keep_hours,
      ),
      background=_SWITCH[self.checkpoint.background],
      evaluate_every=self.evaluation.every,
      skip_limit=self.skip_limit,
      profile=profiling.parse(self.profile),
    )


def sampling_config(network: str) -> type:
  """The section `sampling` of a kind of network.

  Its fields are the user's settings of `sampler_options.SamplerConfig`, with
  a shift of 0 for that of training.
  """
  types = sampler_options.SamplerConfig.__annotations__
  return dataclasses.make_dataclass(
    "SamplingConfig",
    [(name, types[name]) for name in sampler_options.section(network)],
    frozen=True,
  )


@dataclasses.dataclass(frozen=True)
class FlowRunConfig(RunConfig):
  """What a network trained by flow matching has besides.

  Attributes:
    flow: noise levels and weights.
    sampling: of `sampling_config`; given by the subclass, as the sections
      `model`, `dropout` and `init_from` are.
  """

  data: CachedDataConfig
  flow: flow_matching.FlowConfig

  def __post_init__(self) -> None:
    super().__post_init__()
    try:
      sampler_options.SamplerConfig(**self.sampler)
    except ValueError as error:
      raise errors.UserError(f"section sampling: {error}") from error

  @property
  def sampler(self) -> dict[str, Any]:
    """Settings of `sampler_options.SamplerConfig`, for a network's metadata."""
    values = dataclasses.asdict(self.sampling)
    return {**values, "shift": values["shift"] or self.flow.shift}
