"""Task `strag` (stage B)."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from more4d_jax import batches, errors, generation, locations, pipeline
from more4d_jax.checkpoints import store
from more4d_jax.conditions import latents
from more4d_jax.data import loader, transforms
from more4d_jax.evaluation import track_metrics
from more4d_jax.experiment import (
  latent_task,
  model_config,
  pretrained,
  run_config,
)
from more4d_jax.experiment import task as tasks
from more4d_jax.geometry import motion as motion_geometry
from more4d_jax.models import motion_perception, strag
from more4d_jax.sampling import networks
from more4d_jax.training.objectives import strag as objective
from more4d_jax.viewing import panels

SamplingConfig = run_config.sampling_config("strag")


@dataclasses.dataclass(frozen=True)
class InitFrom:
  """The motion VAE is needed, the depth network if depth is its.

  A network to go on from is optional.
  """

  motion_vae: str
  depth: str
  strag: str


@dataclasses.dataclass(frozen=True)
class ModelConfig(run_config.TransformerConfig):
  """Switches of the network; each is the question of an ablation.

  Attributes:
    use_motion_perception: motion features modulate the transformer.
    motion_feature: "patches", or "global" for one mean for all tokens.
    motion_alignment: which tokens motion features modulate.
    use_depth_latents: depth is part of the input.
    train_motion_encoder: beside the transformer.
  """

  use_motion_perception: bool
  motion_feature: str = run_config.setting(choices=strag.MOTION_FEATURES)
  use_depth_latents: bool
  train_motion_encoder: bool
  motion_alignment: str = "aligned"

  def __post_init__(self) -> None:
    super().__post_init__()
    if self.motion_alignment not in motion_perception.ALIGNMENTS:
      raise ValueError(
        f"motion_alignment is {self.motion_alignment!r}: choose one of "
        f"{', '.join(motion_perception.ALIGNMENTS)}"
      )


@dataclasses.dataclass(frozen=True)
class STraGRunConfig(run_config.FlowRunConfig):
  """Besides what flow matching has: motion, switches, dropout, sampling."""

  init_from: InitFrom
  motion: run_config.MotionConfig
  model: ModelConfig
  dropout: objective.STraGDropout
  depth: latents.DepthShares
  sampling: SamplingConfig = run_config.setting(may_change=True)


class STraGTask(latent_task.LatentTask):
  """Trajectory latents of a picture, a caption and depth."""

  kind = "strag"
  config_class = STraGRunConfig
  objective_class = objective.STraGObjective
  needs = ("motion_vae",)
  config: STraGRunConfig

  @property
  def network(self) -> strag.STraGConfig:
    """The configuration of the network, ablations applied."""
    network, switches = super().network, self.config.model
    if not switches.use_motion_perception:
      network = network.without_motion_perception()
    if not switches.use_depth_latents:
      network = network.without_depth_latents()
    return model_config.replace_fields(
      network,
      motion_feature=switches.motion_feature,
      motion_alignment=switches.motion_alignment,
    )

  def may_differ(self, found: strag.STraGConfig) -> Sequence[str]:
    """Depth may join the input, and motion perception the transformer.

    Not where a LoRA is trained, which changes a network that is whole.
    """
    fields = ["dit.motion_alignment"]
    if self.config.model.lora is None:
      fields += ["use_depth_latents", "dit.in_channels"]
      if (found.motion is None) != (self.network.motion is None):
        fields += [r"motion\..*", "dit.motion_width", "dit.motion_grid"]
    return fields

  @property
  def trainable(self) -> Sequence[str]:
    """The motion encoder too, where there is one and no LoRA."""
    model = self.config.model
    trained = model.train_motion_encoder and self.network.motion
    also = ["motion_encoder/.*"] if trained and model.lora is None else []
    return [*super().trainable, *also]

  @property
  def example(self) -> Mapping[str, jax.ShapeDtypeStruct]:
    """What `conditions.latents.encode_scenes` keeps of a scene."""
    names = ("motion_mean", "motion_logvar", "control", "depth")
    found = self.latents(*names)
    shape = found["control"].shape[1:]
    reference = jax.ShapeDtypeStruct(shape, found["control"].dtype)
    return {**super().example, **found, "reference": reference}

  def open(self, workdir: locations.Location) -> tasks.Opened:
    """Opens the motion VAE too.

    Raises:
      UserError: also if it was trained on motion of another normalisation.
    """
    opened = super().open(workdir)
    found = motion_geometry.MotionNormalisation.from_json(
      opened.below["motion_vae"].metadata["normalisation"]
    )
    mine = self.config.motion.read()
    if found != mine:
      raise errors.UserError(
        f"the motion VAE was trained with {found}, this run has {mine}: set "
        "motion.normalisation and motion.alpha alike, or train a motion VAE "
        "with this config's"
      )
    if not self.config.depth.network:
      return opened
    network = pretrained.load(self.config, "depth")
    if network.config.output == "relu":
      raise errors.UserError(
        f"expected a depth network that gives metres in "
        f"{self.config.init_from.depth}, found one of relative depth: name "
        "another, or set depth.network to 0"
      )
    below = {**opened.below, "depth": network}
    return dataclasses.replace(opened, below=below)

  def films(self, records: loader.Source) -> loader.Source:
    """The records themselves."""
    return records

  def prepared(
    self, opened: tasks.Opened, random_crop: bool = False
  ) -> latents.SceneExample:
    """Record -> tracks, picture, depth and tokens."""
    return latents.SceneExample(
      self.options(random_crop=random_crop),
      opened.tokenizer,
      self.config.depth,
    )

  @property
  def conditions(self) -> Mapping[str, Any]:
    """Which depth is shown."""
    found = {"depth_shares": dataclasses.asdict(self.config.depth)}
    if self.config.depth.noisy:
      found["noise"] = dataclasses.asdict(latents.NOISE)
    return found

  def encoding(self, opened: tasks.Opened) -> dict[str, store.Network]:
    """The autoencoders of motion and video, and the depth network if any."""
    return {**opened.below, "video_vae": _video_vae(opened)}

  def encode_latents(
    self, found: Mapping[str, networks.BoundModule], batch: Mapping[str, Any]
  ) -> dict[str, jax.Array]:
    """Latents of motion, picture and depth."""
    return latents.encode_scenes(
      found["video_vae"],
      found["motion_vae"],
      self.config.motion.read(),
      batch,
      found.get("depth"),
    )

  def evaluate(
    self,
    opened: tasks.Opened,
    params: Any,
    step: int,
    folder: locations.Location,
  ) -> Mapping[str, float]:
    """Samples trajectories of held-out pictures and compares them."""
    if not self.config.evaluation.videos:
      return {}
    sampler = pipeline.Pipeline(
      {
        "video_vae": _video_vae(opened),
        "motion_vae": opened.below["motion_vae"],
        "strag": self.sampled(opened, params),
      },
      options=generation.Options(mesh=jax.sharding.get_mesh()),
    )
    examples = self.shown_examples(opened, transforms.scene_example)
    fields = loader.stack(examples)
    batch = batches.PictureBatch(
      images=fields["image"],
      depths=_depths(fields["tracks"], fields["depth"]),
      intrinsics=fields["intrinsics"],
      prompts=[e["caption"] for e in examples],
      noise_keys=[(0, number) for number in range(len(examples))],
    )
    (drawn,) = sampler.generator.tracks([batch])
    results = []
    for number, (example, found) in enumerate(zip(examples, drawn.tracks)):
      results.append(_compare(example, found))
      self.save_video(
        folder,
        step,
        number,
        panels.predicted_and_true(
          example["image"], found, example["tracks"], example["intrinsics"]
        ),
      )
    figures = track_metrics.summarise_tracks(results)
    return {
      name: figures[name]
      for name in ("end_point_error", "relative", "right_sign")
      if name in figures
    }

  def metadata(self, opened: tasks.Opened, params: Any) -> dict[str, Any]:
    """How to sample, and how fast the scenes of the training records go."""
    motion = opened.below["motion_vae"].metadata
    return {
      **super().metadata(opened, params),
      "fps": float(opened.training[0].decode(("fps",))["fps"]),
      "normalisation": motion["normalisation"],
      "latent_stats": motion["latent_stats"],
    }


def _video_vae(opened: tasks.Opened) -> store.Network:
  """The video VAE inside the motion VAE; its encoder is the base one."""
  motion = opened.below["motion_vae"]
  return store.Network(
    kind="video_vae",
    config=motion.config.vae,
    params=motion.params["vae"],
    metadata={"latent_stats": motion.metadata["base_latent_stats"]},
  )


def _depths(tracks: np.ndarray, depth: np.ndarray) -> np.ndarray:
  """First-frame depth of the tracks; the depth map where that is unknown."""
  first = tracks[:, 0, ..., 2]
  known = np.isfinite(first) & (first > 0)
  filled = np.where(known, first, depth)
  usable = np.isfinite(filled) & (filled > 0)
  return np.where(usable, filled, 1.0).astype(np.float32)


def _compare(
  example: Mapping[str, Any], found: np.ndarray
) -> track_metrics.SceneTrackResult:
  """End-point error over moving objects, or over all where none is marked."""
  seen = example["visible"][0]
  mask = seen & (example["segmentation"] > 0)
  if not mask.any():
    mask = seen
  true = example["tracks"]
  return track_metrics.SceneTrackResult(
    error=track_metrics.end_point_error(found, true, mask),
    still=track_metrics.still_error(true, mask),
    sign=track_metrics.caption_sign(example["caption"]),
    horizontal=track_metrics.mean_horizontal_motion(found, mask),
  )
