"""From a rendering with holes to a completed video (4D-ViSM)."""

import collections
import dataclasses
import functools
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, UInt8

from more4d_jax.models import vism
from more4d_jax.sampling import networks, sampler_options, stages

TEXT = stages.Stage("text", "vism", ("text_encoder",))
FEATURES = stages.Stage("features of pictures", "vism", ("image_encoder",))
LATENTS = stages.Stage("latents of renderings", "video_vae", ("encoder",))
STEPS = stages.Stage("views", "vism", ("transformer",))
DECODING = stages.Stage("decoding of views", "video_vae", ("decoder",))
STAGES = (TEXT, FEATURES, LATENTS, STEPS, DECODING)

HOLES = ("grey", "filled", "rendered")


@dataclasses.dataclass(frozen=True)
class ViSMChoices:
  """What a network is shown; a checkpoint's metadata says how it was trained.

  Attributes:
    image_context: one of `networks.IMAGE_CONTEXTS`; "zeros" as the original
      samples.
    holes: what it sees in holes: mid "grey"; the colours of what lies behind
      them, with which a rendering is "filled"; or whatever the rendering holds
      there, "rendered" (the original's `all_mask`), where a rendering without
      a covered pixel remains a condition.
  """

  image_context: str = "picture"
  holes: str = "grey"

  def __post_init__(self) -> None:
    networks.check_choice(
      "image_context", self.image_context, networks.IMAGE_CONTEXTS
    )
    networks.check_choice("holes", self.holes, HOLES)


DEFAULT = ViSMChoices()


@dataclasses.dataclass(frozen=True)
class Renderings:
  """Renderings of one size to complete, with all that is drawn from them.

  Attributes:
    videos: colours; those outside `coverage` matter unless holes are grey.
    coverage: True where the renderer drew a point.
    images: the picture of each scene.
    text_context: features of the captions.
    negative_context: of what guidance leads away from; None without guidance.
    noise: standard normal, of the latents' shape.
  """

  videos: UInt8[np.ndarray, "B T H W 3"]
  coverage: Bool[np.ndarray, "B T H W"]
  images: UInt8[np.ndarray, "B H W 3"]
  text_context: Float[np.ndarray, "B L E"]
  negative_context: Float[np.ndarray, "B L E"] | None
  noise: Float[np.ndarray, "B t h w C"]


@dataclasses.dataclass(frozen=True)
class Videos:
  """Completed renderings.

  Attributes:
    videos: colours.
    finite: whether the networks produced numbers of each; the colours of
      others mean nothing.
  """

  videos: UInt8[np.ndarray, "B T H W 3"]
  finite: Bool[np.ndarray, "B"]


def shown_video(
  rendering: Float[Array, "B T H W 3"],
  coverage: Bool[Array, "B T H W"],
  holes: str,
) -> Float[Array, "B T H W 3"]:
  """The rendering in [-1, 1]; grey holes are 0, others as they come."""
  signed = rendering * 2 - 1
  return signed * coverage[..., None] if holes == "grey" else signed


def encode_latents(
  video_vae: networks.BoundModule,
  rendering: Float[Array, "B T H W 3"],
  coverage: Bool[Array, "B T H W"],
  choices: ViSMChoices = DEFAULT,
) -> tuple[Float[Array, "B t h w 4"], Float[Array, "B t h w C"]]:
  """Packed mask and latents of a rendering.

  A video without a single covered pixel has no condition but its text: mask
  and latents are zero, as in training
  (docs/method/view_completion.md#inpainting-conditioning).

  Args:
    video_vae: encodes; with the statistics of its latents.
    rendering: in [0, 1].
    coverage: True where the renderer drew a point.
    choices: what the transformer is shown.
  """
  shown = shown_video(rendering, coverage, choices.holes)
  masked = networks.encode_video(video_vae, shown)
  mask = vism.pack_mask(~coverage)
  drawn = jnp.any(coverage, axis=(1, 2, 3)) | (choices.holes == "rendered")
  drawn = drawn[:, None, None, None, None]
  return mask * drawn, masked * drawn


def encode_conditions(
  run: stages.Stages,
  batches: Sequence[Renderings],
  choices: ViSMChoices = DEFAULT,
) -> list[vism.ViSMConditions]:
  """All conditions of the velocity, computed once for each video."""
  with run.borrow(FEATURES) as model:
    contexts = [
      run.call(_image_context, model, batch.images, choices=choices)
      for batch in run.counted(FEATURES, batches)
    ]
  with run.borrow(LATENTS) as video_vae:
    latents = [
      run.call(
        _latents, video_vae, batch.videos, batch.coverage, choices=choices
      )
      for batch in run.counted(LATENTS, batches)
    ]
  return [
    vism.ViSMConditions(batch.text_context, *pair, image_context=context)
    for batch, context, pair in zip(batches, contexts, latents)
  ]


def complete_videos(
  run: stages.Stages,
  batches: Sequence[Renderings],
  sampler: sampler_options.SamplerConfig,
  choices: ViSMChoices = DEFAULT,
) -> Iterator[Videos]:
  """Draws a video without holes for each rendering, all of its pixels.

  Args:
    run: lends the networks "vism" and "video_vae".
    batches: each goes through the networks at once; all go through a stage
      before the next one begins.
    sampler: steps, guidance and schedule.
    choices: what the transformer is shown.

  Yields: the videos of each batch, decoded by the base autoencoder, when all
    are decoded; see `sample_tracks`.
  """
  conditions = encode_conditions(run, batches, choices)
  jobs = stages.jobs_of(batches, conditions, sampler)
  latents = run.draw(STEPS, jobs, sampler)
  found = collections.deque()
  with run.borrow(DECODING) as video_vae:
    for drawn in run.counted(DECODING, latents):
      video, finite = run.call(_decoded, video_vae, drawn.latents)
      found.append(Videos(video, finite))
  while found:
    yield found.popleft()


@functools.partial(jax.jit, static_argnames="choices")
def _image_context(
  model: networks.BoundModule, images: Any, *, choices: ViSMChoices
) -> Any:
  image = networks.unit(images)
  return networks.image_context(model, image, choices.image_context)


@functools.partial(jax.jit, static_argnames="choices")
def _latents(
  video_vae: networks.BoundModule,
  videos: Any,
  coverage: Any,
  *,
  choices: ViSMChoices,
) -> Any:
  return encode_latents(video_vae, networks.unit(videos), coverage, choices)


@jax.jit
def _decoded(video_vae: networks.BoundModule, latents: Any) -> Any:
  video = networks.decode_video(video_vae, latents)
  finite = jnp.ones(len(latents), bool)
  for values in (latents, video):
    finite &= jnp.isfinite(values).all(axis=(1, 2, 3, 4))
  return jnp.rint(video * 255).astype(jnp.uint8), finite
