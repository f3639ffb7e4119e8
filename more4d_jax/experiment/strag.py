"""Task `strag` (stage B)."""

import dataclasses
import functools
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from more4d_jax import batches, errors, pipeline
from more4d_jax.checkpoints import store
from more4d_jax.data import loader, transforms
from more4d_jax.evaluation import track_metrics
from more4d_jax.experiment import pretrained, record_splits, settings
from more4d_jax.experiment import task as tasks
from more4d_jax.geometry import motion as motion_geometry
from more4d_jax.models import latent_stats, motion_vae, strag, video_vae
from more4d_jax.sampling import networks
from more4d_jax.training.objectives import strag as objective
from more4d_jax.viewing import panels


class STraGTask(tasks.Task):
  """Trajectory latents of a picture, a caption and depth."""

  kind = "strag"
  _motion_vae: store.Network | None = None

  @property
  def network(self) -> strag.STraGConfig:
    """The configuration of the network, ablations applied."""
    switches = self.config.model
    network = settings.replace_model(
      tasks.model(self.config, self.variant.strag),
      **settings.attention(self.config),
      remat=switches.remat,
    )
    if not switches.use_motion_perception:
      network = network.without_motion_perception()
    if not switches.use_depth_latents:
      network = network.without_depth_latents()
    if switches.motion_feature not in strag.MOTION_FEATURES:
      raise errors.UserError(
        f"model.motion_feature is {switches.motion_feature!r}: choose one of "
        f"{', '.join(strag.MOTION_FEATURES)}"
      )
    return dataclasses.replace(network, motion_feature=switches.motion_feature)

  @property
  def tokenizer(self) -> Any:
    """Captions to tokens."""
    text = self.network.text
    return tasks.byte_tokenizer(text.length, text.vocabulary)

  @property
  def objective(self) -> objective.STraGObjective:
    """The loss; before `prepare` with statistics that change nothing."""
    variant = self.variant
    stats = latent_stats.identity(strag.LATENT_CHANNELS)
    if self._motion_vae is not None:
      found = self._motion_vae.metadata["latent_stats"]
      stats = latent_stats.LatentStats.from_json(found)
    return objective.STraGObjective(
      config=self.network,
      stats=stats,
      flow=settings.flow_config(self.config),
      dropout=settings.section(objective.STraGDropout, self.config.dropout),
      grid=variant.latent_grid,
      image_size=(variant.height, variant.width),
      empty_text=self.tokenizer([""])[0],
    )

  @property
  def trainable(self) -> Sequence[str]:
    """The transformer, and encoders as the config says."""
    network, switches = self.network, self.config.model
    return [
      "dit/.*",
      *(["text_encoder/.*"] if switches.train_text_encoder else []),
      *(
        ["motion_encoder/.*"]
        if switches.train_motion_encoder and network.motion
        else []
      ),
      *(
        ["image_encoder/.*"]
        if switches.train_image_encoder and network.image
        else []
      ),
    ]

  def prepare(self) -> None:
    """Loads the motion VAE and checks that its motion is this run's.

    Raises:
      UserError: if it was trained on motion of another normalisation, or the
        section `sampling` makes no sense.
    """
    settings.sampling(self.config, self.network.dit)
    self._motion_vae = pretrained.load(self.config, "motion_vae", needed=True)
    found = motion_geometry.MotionNormalisation.from_json(
      self._motion_vae.metadata["normalisation"]
    )
    mine = settings.normalisation(self.config)
    if found != mine:
      raise errors.UserError(
        f"the motion VAE was trained with {found}, this run has {mine}: set "
        "motion.normalisation and motion.alpha alike, or train a motion VAE "
        "with this config's"
      )

  def _base(self) -> store.Network:
    """The video VAE inside the motion VAE; its encoder is the base one."""
    motion = self._motion_vae
    return store.Network(
      kind="video_vae",
      config=motion.config.vae,
      params=motion.params["vae"],
      metadata={"latent_stats": motion.metadata["base_latent_stats"]},
    )

  def _cache(self, name: str, records: loader.Source) -> tasks.DataSet:
    """Latents of records, made when missing."""
    from more4d_jax.conditions import cache, latents

    base, motion = self._base(), self._motion_vae
    stats = latent_stats.LatentStats.from_json(base.metadata["latent_stats"])
    encode = functools.partial(
      jax.jit(latents.encode_scenes, static_argnames="normalisation"),
      networks.BoundModule(
        jax.device_put(base.params), video_vae.VideoVAE(base.config), stats
      ),
      networks.BoundModule(
        jax.device_put(motion.params), motion_vae.MotionVAE(motion.config)
      ),
      normalisation=settings.normalisation(self.config),
    )
    job = cache.CacheJob(
      root=tasks.cache_root(self.config, self.workdir),
      kind=f"strag-{name}",
      fingerprint={
        "records": tasks.data_fingerprint(self.config, name, len(records)),
        "motion_vae": motion.metadata["identity"],
        "text_length": self.tokenizer.length,
        **self.size,
      },
    )
    transform = latents.SceneExample(self.options(), self.tokenizer)
    parts = cache.build(
      job, records, transform, lambda batch: encode(batch=batch)
    )
    return tasks.DataSet(record_splits.Joined(parts), tasks.cached)

  def train_set(self) -> tasks.DataSet:
    """Cached latents of the training records."""
    return self._cache("train", self.records[0])

  def held_out(self) -> tasks.DataSet:
    """Cached latents of the held-out records."""
    count = min(self.config.evaluation.records, len(self.records[1]))
    held = record_splits.Selected(self.records[1], range(count))
    return self._cache("held_out", held)

  def look(
    self, params: Any, step: int, folder: pathlib.Path
  ) -> Mapping[str, float]:
    """Samples trajectories of held-out pictures and compares them."""
    if not self.config.evaluation.videos:
      return {}
    sampler = pipeline.Pipeline(
      {
        "video_vae": self._base(),
        "motion_vae": self._motion_vae,
        "strag": store.Network(
          "strag", self.network, params, self.metadata(params)
        ),
      }
    )
    examples = self.shown(transforms.scene_example)
    fields = loader.stack(examples)
    tracks = sampler.tracks(
      batches.PictureBatch(
        images=fields["image"],
        depths=_depths(fields["tracks"], fields["depth"]),
        intrinsics=fields["intrinsics"],
        prompts=[e["caption"] for e in examples],
      )
    )
    results = []
    for number, (example, found) in enumerate(zip(examples, tracks)):
      results.append(_compare(example, found))
      self.save(
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

  @property
  def trained_on(self) -> dict[str, str]:
    """The motion VAE whose latents these are."""
    return {"motion_vae": self._motion_vae.metadata["identity"]}

  def metadata(self, params: Any) -> dict[str, Any]:
    """How to sample, and how fast the scenes of the training records go."""
    del params
    motion = self._motion_vae.metadata
    return {
      **self.size,
      "fps": float(self.records[0][0].decode(("fps",))["fps"]),
      "normalisation": motion["normalisation"],
      "latent_stats": motion["latent_stats"],
      "sampling": settings.sampling(self.config, self.network.dit),
    }


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
