"""The networks of this project: one row each, which everyone else reads.

A row names classes by module and name, "models.strag:STraG" for that class of
`more4d_jax.models.strag`. They are imported when they are needed, so that
the table itself costs nothing and any room may read it.
"""

import dataclasses
import importlib
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class NetworkKind:
  """Where the classes of one kind of network are.

  Attributes:
    config: the frozen dataclass that configures it.
    module: the flax module; None for what is only a part of networks.
    task: the training task; None for a part.
    conditions: the choices of what its sampler shows it; None for a network
      that is not sampled by flow matching.
    parts: name -> subtrees of its parameters; each is put on a device, and
      freed, by itself.
  """

  config: str
  module: str | None = None
  task: str | None = None
  conditions: str | None = None
  parts: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)

  @property
  def config_class(self) -> type:
    """The dataclass that configures it."""
    return _resolve(self.config)

  @property
  def module_class(self) -> Any:
    """The flax module."""
    return _resolve(self.module)

  @property
  def task_class(self) -> Any:
    """The training task."""
    return _resolve(self.task)

  @property
  def conditions_class(self) -> type:
    """The choices of what its sampler shows it."""
    return _resolve(self.conditions)

  def part_of(self, path: str) -> str:
    """The part that a parameter belongs to.

    Raises:
      ValueError: if it is in none.
    """
    for name, starts in self.parts.items():
      if any(f"{path}/".startswith(f"{start}/") for start in starts):
        return name
    raise ValueError(f"{path} is in none of {', '.join(self.parts)}")


_DENOISER = {
  "text_encoder": ("text_encoder",),
  "image_encoder": ("image_encoder",),
  "motion_encoder": ("motion_encoder",),
  "transformer": ("dit",),
}
_VAE = {
  "encoder": ("encoder", "quant_conv"),
  "decoder": ("decoder", "post_quant_conv"),
}
_MOTION_VAE = {
  side: (f"trajectory_{side}", *(f"vae/{path}" for path in paths))
  for side, paths in _VAE.items()
}


# In the order in which they are trained: each builds on those before it.
NETWORKS: Mapping[str, NetworkKind] = {
  "video_vae": NetworkKind(
    config="models.video_vae:VideoVAEConfig",
    module="models.video_vae:VideoVAE",
    task="experiment.video_vae:VideoVAETask",
    parts=_VAE,
  ),
  "depth": NetworkKind(
    config="models.encoders.depth:DepthConfig",
    module="models.encoders.depth:DepthNetwork",
    task="experiment.depth:DepthTask",
    parts={"network": ("trunk", "head")},
  ),
  "motion_vae": NetworkKind(
    config="models.motion_vae:MotionVAEConfig",
    module="models.motion_vae:MotionVAE",
    task="experiment.motion_vae:MotionVAETask",
    parts=_MOTION_VAE,
  ),
  "strag": NetworkKind(
    config="models.strag:STraGConfig",
    module="models.strag:STraG",
    task="experiment.strag:STraGTask",
    conditions="sampling.sample_strag:STraGChoices",
    parts=_DENOISER,
  ),
  "vism": NetworkKind(
    config="models.vism:ViSMConfig",
    module="models.vism:ViSM",
    task="experiment.vism:ViSMTask",
    conditions="sampling.sample_vism:ViSMChoices",
    parts=_DENOISER,
  ),
}

# What several networks share, stored once beside them.
PARTS: Mapping[str, NetworkKind] = {
  "transformer": NetworkKind("models.backbone:DiTConfig"),
  "text_encoder": NetworkKind("models.encoders.text:TextEncoderConfig"),
  "image_encoder": NetworkKind("models.encoders.image:ImageEncoderConfig"),
  "motion_encoder": NetworkKind("models.encoders.motion:MotionEncoderConfig"),
  "trajectory_adapter": NetworkKind(
    "models.motion_vae:TrajectoryAdapterConfig"
  ),
}

# Those drawn by flow matching, which have settings of sampling.
SAMPLED = tuple(kind for kind, row in NETWORKS.items() if row.conditions)


def config_classes() -> dict[str, type]:
  """Maps each kind of network, and of part, to its configuration class."""
  rows = {**NETWORKS, **PARTS}
  return {kind: row.config_class for kind, row in rows.items()}


def _resolve(reference: str) -> Any:
  module, _, name = reference.partition(":")
  return getattr(importlib.import_module(f"{__package__}.{module}"), name)
