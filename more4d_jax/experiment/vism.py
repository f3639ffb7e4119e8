"""Task `vism` (stage C)."""

import functools
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from more4d_jax import batches, errors, pipeline
from more4d_jax.checkpoints import store
from more4d_jax.data import loader
from more4d_jax.evaluation import video_metrics
from more4d_jax.experiment import pretrained, record_splits, settings
from more4d_jax.experiment import task as tasks
from more4d_jax.lora import dialects
from more4d_jax.models import latent_stats, video_vae, vism
from more4d_jax.models import lora as lora_model
from more4d_jax.sampling import networks
from more4d_jax.training.objectives import vism as objective
from more4d_jax.viewing import panels

_LORA_FILE = "lora.safetensors"


class ViSMTask(tasks.Task):
  """Video latents under a rendering with holes."""

  kind = "vism"
  _video_vae: store.Network | None = None

  @property
  def network(self) -> vism.ViSMConfig:
    """The configuration of the network."""
    return settings.replace_model(
      tasks.model(self.config, self.variant.vism),
      **settings.attention(self.config),
      remat=self.config.model.remat,
    )

  @property
  def tokenizer(self) -> Any:
    """Captions to tokens."""
    text = self.network.text
    return tasks.byte_tokenizer(text.length, text.vocabulary)

  @property
  def objective(self) -> objective.ViSMObjective:
    """The loss; before `prepare` with statistics that change nothing."""
    variant = self.variant
    stats = latent_stats.identity(self.network.dit.out_channels)
    if self._video_vae is not None:
      stats = self._stats()
    return objective.ViSMObjective(
      config=self.network,
      stats=stats,
      flow=settings.flow_config(self.config),
      dropout=settings.section(objective.ViSMDropout, self.config.dropout),
      grid=variant.latent_grid,
      image_size=(variant.height, variant.width),
      empty_text=self.tokenizer([""])[0],
      lora=self.lora,
    )

  @property
  def lora(self) -> lora_model.LoRAConfig | None:
    """What is trained instead of the network, if anything.

    Raises:
      UserError: for a negative rank, or an alpha that is no positive number.
    """
    rank, alpha = self.config.model.lora_rank, self.config.model.lora_alpha
    if rank < 0 or not (math.isfinite(alpha) and alpha > 0):
      raise errors.UserError(
        f"model.lora_rank is {rank} and model.lora_alpha {alpha}: expected a "
        "rank of 0 (no LoRA) or more, and a positive alpha"
      )
    return lora_model.LoRAConfig(rank, alpha) if rank else None

  @property
  def trainable(self) -> Sequence[str]:
    """The LoRA, or else the transformer, and encoders as the config says."""
    if self.lora is not None:
      return [f"{lora_model.COLLECTION}/.*"]
    network, switches = self.network, self.config.model
    return [
      "dit/.*",
      *(["text_encoder/.*"] if switches.train_text_encoder else []),
      *(
        ["image_encoder/.*"]
        if switches.train_image_encoder and network.image
        else []
      ),
    ]

  def prepare(self) -> None:
    """Loads the video VAE.

    Raises:
      UserError: if there is none, the section `sampling` makes no sense, or
        there is a LoRA but no network for it to change.
    """
    if self.lora is not None and not self.config.init_from.vism:
      raise errors.UserError(
        f"model.lora_rank is {self.lora.rank}, but there is no network for the "
        "LoRA to change: set init_from.vism, or model.lora_rank to 0"
      )
    settings.sampling(self.config, self.network.dit)
    self._video_vae = pretrained.load(self.config, "video_vae", needed=True)

  def _trained_lora(self, params: Any) -> lora_model.LoRA:
    return lora_model.from_trained(
      _LORA_FILE,
      params[lora_model.COLLECTION],
      self.lora.alpha,
      self.network.dit.layer.head_dim,
    )

  def assembled(self, params: Any) -> Any:
    """The network with the LoRA merged into it, if there is one."""
    if self.lora is None:
      return params
    network = {k: v for k, v in params.items() if k != lora_model.COLLECTION}
    weighted = lora_model.Weighted(self._trained_lora(params))
    network["dit"] = lora_model.merge(
      network["dit"], [weighted], self.network.dit.layer.head_dim
    )
    return network

  def write_beside(self, params: Any, workdir: pathlib.Path) -> None:
    """Writes the LoRA with the original's names."""
    if self.lora is not None and jax.process_index() == 0:
      found = self._trained_lora(params)
      dialects.save(workdir / _LORA_FILE, found, "original")

  def _stats(self) -> latent_stats.LatentStats:
    found = self._video_vae.metadata["latent_stats"]
    return latent_stats.LatentStats.from_json(found)

  def _cache(self, name: str, records: loader.Source) -> tasks.DataSet:
    """Latents of records' films, made when missing."""
    from more4d_jax.conditions import cache, rendered_views

    vae = self._video_vae
    encode = functools.partial(
      jax.jit(rendered_views.encode_films),
      networks.BoundModule(
        jax.device_put(vae.params),
        video_vae.VideoVAE(vae.config),
        self._stats(),
      ),
    )
    job = cache.CacheJob(
      root=tasks.cache_root(self.config, self.workdir),
      kind=f"vism-{name}",
      fingerprint={
        "records": tasks.data_fingerprint(self.config, name, len(records)),
        "video_vae": vae.metadata["identity"],
        "text_length": self.tokenizer.length,
        **self.size,
      },
    )
    transform = rendered_views.FilmExample(self.options(), self.tokenizer)
    films = rendered_views.Films(records)
    parts = cache.build(job, films, transform, encode)
    return tasks.DataSet(record_splits.Joined(parts), tasks.cached)

  def _shown_records(self) -> record_splits.Selected:
    held = self.records[1]
    count = min(self.config.evaluation.records, len(held))
    return record_splits.Selected(held, range(count))

  def train_set(self) -> tasks.DataSet:
    """Cached latents of the training records."""
    return self._cache("train", self.records[0])

  def held_out(self) -> tasks.DataSet:
    """Cached latents of the held-out records."""
    return self._cache("held_out", self._shown_records())

  def look(
    self, params: Any, step: int, folder: pathlib.Path
  ) -> Mapping[str, float]:
    """Completes renderings of held-out scenes and compares the holes."""
    from more4d_jax.conditions import rendered_views

    if not self.config.evaluation.videos:
      return {}
    found = pipeline.Pipeline(
      {
        "video_vae": self._video_vae,
        "vism": store.Network("vism", self.network, params, self.metadata({})),
      }
    )
    example = rendered_views.FilmExample(self.options(), self.tokenizer)
    records = self._shown_records()
    films = [example((records[i], 0)) for i in range(len(records))]
    batch = loader.stack(films)
    rendering, coverage = jax.device_get(
      jax.jit(rendered_views.render_batch)(batch)
    )
    rendering = np.rint(rendering * 255).astype(np.uint8)
    captions = [
      records[i].decode(("caption",))["caption"] for i in range(len(records))
    ]
    completed = found.complete_renderings(
      batches.RenderingBatch(rendering, coverage, batch["image"], captions)
    )
    true = batch["target_video"]
    for number in range(len(films)):
      shown = [
        panels.show_holes(rendering[number], coverage[number]),
        completed[number],
        true[number],
      ]
      self.save(
        folder,
        step,
        number,
        panels.side_by_side(shown, ("rendering", "completed", "true")),
      )
    return _figures(rendering, coverage, completed, true)

  @property
  def trained_on(self) -> dict[str, str]:
    """The video VAE whose latents these are."""
    return {"video_vae": self._video_vae.metadata["identity"]}

  def metadata(self, params: Any) -> dict[str, Any]:
    """How to sample."""
    del params
    return {
      **self.size,
      "sampling": settings.sampling(self.config, self.network.dit),
    }


def _figures(
  rendering: np.ndarray,
  coverage: np.ndarray,
  completed: np.ndarray,
  true: np.ndarray,
) -> dict[str, float]:
  """Signal to noise in holes, of the completion and of nearest colours."""
  holes = ~coverage
  if not holes.any():
    return {}
  filled = np.stack(
    [video_metrics.fill_nearest(v, c) for v, c in zip(rendering, coverage)]
  )
  return {
    "hole_psnr": video_metrics.psnr(completed, true, holes),
    "nearest_hole_psnr": video_metrics.psnr(filled, true, holes),
  }
