"""Task `vism` (stage C)."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from more4d_jax import batches, generation, locations, partitioning, pipeline
from more4d_jax.checkpoints import store
from more4d_jax.conditions import rendered_views
from more4d_jax.data import loader
from more4d_jax.evaluation import video_metrics
from more4d_jax.experiment import latent_task, run_config
from more4d_jax.experiment import task as tasks
from more4d_jax.models import vism
from more4d_jax.sampling import networks
from more4d_jax.training.objectives import vism as objective
from more4d_jax.viewing import panels

SamplingConfig = run_config.sampling_config("vism")


@dataclasses.dataclass(frozen=True)
class InitFrom:
  """The video VAE is needed; a network to go on from is optional."""

  video_vae: str
  vism: str


@dataclasses.dataclass(frozen=True)
class ViSMRunConfig(run_config.FlowRunConfig):
  """Besides what flow matching has: switches, dropout, sampling."""

  init_from: InitFrom
  model: run_config.TransformerConfig
  dropout: objective.ViSMDropout
  conditions: rendered_views.FilmOptions
  sampling: SamplingConfig = run_config.setting(may_change=True)


class ViSMTask(latent_task.LatentTask):
  """Video latents under a rendering with holes."""

  kind = "vism"
  config_class = ViSMRunConfig
  objective_class = objective.ViSMObjective
  needs = ("video_vae",)
  config: ViSMRunConfig

  @property
  def example(self) -> Mapping[str, jax.ShapeDtypeStruct]:
    """What `conditions.rendered_views.encode_films` keeps of a film."""
    return {
      **super().example,
      **self.latents("target_mean", "target_logvar", "masked"),
      **self.latents("mask", channels=vism.PACKED_FRAMES),
    }

  def films(self, records: loader.Source) -> rendered_views.Films:
    """The films of each record, see `rendered_views`."""
    return rendered_views.Films(records, self.config.conditions.films)

  def prepared(
    self, opened: tasks.Opened, random_crop: bool = False
  ) -> rendered_views.FilmExample:
    """Film -> what is rendered, its target and tokens."""
    return rendered_views.FilmExample(
      self.options(random_crop=random_crop),
      opened.tokenizer,
      self.config.conditions,
    )

  @property
  def conditions(self) -> Mapping[str, Any]:
    """Which films are kept, and what is shown of them."""
    noise = rendered_views.NOISE if self.config.conditions.estimated else ()
    return {
      **dataclasses.asdict(self.config.conditions),
      "noise": [dataclasses.asdict(one) for one in noise],
    }

  def metadata(self, opened: tasks.Opened, params: Any) -> dict[str, Any]:
    """How to sample, and what the network is shown."""
    return {
      **super().metadata(opened, params),
      "conditions": {"holes": self.config.conditions.holes},
    }

  def encoding(self, opened: tasks.Opened) -> dict[str, store.Network]:
    """The video autoencoder."""
    return dict(opened.below)

  def encode_latents(
    self, found: Mapping[str, networks.BoundModule], batch: Mapping[str, Any]
  ) -> dict[str, jax.Array]:
    """Latents of films and of renderings with holes."""
    holes = self.config.conditions.holes
    return rendered_views.encode_films(found["video_vae"], holes, batch)

  def evaluate(
    self,
    opened: tasks.Opened,
    params: Any,
    step: int,
    folder: locations.Location,
  ) -> Mapping[str, float]:
    """Completes renderings of held-out scenes and compares the holes."""
    if not self.config.evaluation.videos:
      return {}
    found = pipeline.Pipeline(
      {
        "video_vae": opened.below["video_vae"],
        "vism": self.sampled(opened, params),
      },
      options=generation.Options(mesh=jax.sharding.get_mesh()),
    )
    records = self.shown_records(opened)
    sources = rendered_views.Films(records, 1)
    films = [
      self.prepared(opened).random_map(sources[i], np.random.default_rng(i))
      for i in range(len(records))
    ]
    batch = loader.stack(films)
    rendering, coverage = partitioning.fetch(
      jax.jit(rendered_views.render_batch, static_argnames="holes")(
        batch, holes=self.config.conditions.holes
      )
    )
    rendering = np.rint(rendering * 255).astype(np.uint8)
    captions = [
      records[i].decode(("caption",))["caption"] for i in range(len(records))
    ]
    keys = [(0, number) for number in range(len(films))]
    (drawn,) = found.generator.videos(
      [
        batches.RenderingBatch(
          rendering, coverage, batch["image"], captions, keys
        )
      ]
    )
    true = batch["target_video"]
    for number in range(len(films)):
      shown = [
        panels.show_holes(rendering[number], coverage[number]),
        drawn.videos[number],
        true[number],
      ]
      self.save_video(
        folder,
        step,
        number,
        panels.side_by_side(shown, ("rendering", "completed", "true")),
      )
    return _figures(rendering, coverage, drawn.videos, true)


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
