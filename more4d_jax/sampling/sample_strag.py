"""From a picture, its depth and a caption to trajectories (4D-STraG).

Picture and depth become latents of a still video, the transformer draws the
latent of a motion video under them, and its decoded motion moves the points
of the first frame.
"""

import collections
import dataclasses
import functools
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float, UInt8

from more4d_jax.geometry import cameras, depth, motion, smoothing
from more4d_jax.models import strag
from more4d_jax.sampling import (
  networks,
  original_conditions,
  sampler_options,
  stages,
)

TEXT = stages.Stage("text", "strag", ("text_encoder",))
FEATURES = stages.Stage(
  "features of pictures", "strag", ("image_encoder", "motion_encoder")
)
LATENTS = stages.Stage("latents of pictures", "video_vae", ("encoder",))
STEPS = stages.Stage("trajectories", "strag", ("transformer",))
DECODING = stages.Stage("decoding of trajectories", "motion_vae", ("decoder",))
STAGES = (TEXT, FEATURES, LATENTS, STEPS, DECODING)

_CHOICES = {
  "reference": ("picture", "zeros"),
  "colours": ("exact", "truncated"),
  "depth_cleaning": ("median", "clip"),
  "camera": ("picture", "original"),
}


@dataclasses.dataclass(frozen=True)
class STraGChoices:
  """What a network is shown; a checkpoint's metadata says how it was trained.

  Attributes:
    image_context: one of `networks.IMAGE_CONTEXTS`; "grey" for the original's
      weights.
    reference: latent before the video's: the picture's, or "zeros" as the
      original's weights were trained. Source:
      docs/method/conditioning.md#latent-conditions.
    colours: "truncated" cuts the picture's colours as the original does, see
      `original_conditions.colours`.
    depth_cleaning: "clip" shows depth that is not known as the original does;
      see `depth.clean_depth`. Points start at the filled depth all the same.
    camera: "original" puts the points where the original's one camera for all
      pictures has them, see `original_conditions.camera`.
  """

  image_context: str = "picture"
  reference: str = "picture"
  colours: str = "exact"
  depth_cleaning: str = "median"
  camera: str = "picture"

  def __post_init__(self) -> None:
    networks.check_choice(
      "image_context", self.image_context, networks.IMAGE_CONTEXTS
    )
    for name, allowed in _CHOICES.items():
      networks.check_choice(name, getattr(self, name), allowed)


DEFAULT = STraGChoices()


@dataclasses.dataclass(frozen=True)
class Pictures:
  """Pictures of one size to set in motion, with all that is drawn from them.

  Attributes:
    images: colours.
    depths: metres, finite and positive.
    intrinsics: (fx, fy, cx, cy) in pixels.
    text_context: features of the captions.
    negative_context: of what guidance leads away from; None without guidance.
    noise: standard normal; its t fixes the number of frames, 4 (t - 1) + 1.
    known: False where depth was not known and is filled; None where all is.
  """

  images: UInt8[np.ndarray, "B H W 3"]
  depths: Float[np.ndarray, "B H W"]
  intrinsics: Float[np.ndarray, "B 4"]
  text_context: Float[np.ndarray, "B L E"]
  negative_context: Float[np.ndarray, "B L E"] | None
  noise: Float[np.ndarray, "B t h w C"]
  known: Bool[np.ndarray, "B H W"] | None = None

  @property
  def frames(self) -> int:
    """Frames of the trajectories."""
    return 4 * (self.noise.shape[1] - 1) + 1


@dataclasses.dataclass(frozen=True)
class Tracks:
  """Trajectories, and how they were drawn.

  Attributes:
    tracks: metres, in the first camera's frame; frame 0 is the unprojected
      depth.
    computed: the steps at which the transformer's layers ran.
  """

  tracks: Float[np.ndarray, "B T H W 3"]
  computed: Bool[np.ndarray, "n"]


def encode_features(
  model: networks.BoundModule,
  image: Float[Array, "B H W 3"],
  choices: STraGChoices = DEFAULT,
) -> tuple[Any, Any]:
  """Image features and motion features of pictures in [0, 1].

  Args:
    model: with its image and motion encoders.
    image: the pictures.
    choices: what the transformer is shown.
  """
  return (
    networks.image_context(model, image, choices.image_context),
    model(image, method="motion_features"),
  )


def encode_latents(
  video_vae: networks.BoundModule,
  image: Float[Array, "B H W 3"],
  depths: Float[Array, "B H W"] | None,
  frames: int,
  choices: STraGChoices = DEFAULT,
) -> tuple[Float[Array, "B t h w C"], Float[Array, "B t h w C"] | None]:
  """Latents of the picture and of its depth as still videos.

  Args:
    video_vae: encodes them; with the statistics of its latents.
    image: in [0, 1].
    depths: metres; None for a network without depth latents.
    frames: of the clips.
    choices: what the transformer is shown.
  """
  if choices.colours == "truncated":
    image = original_conditions.colours(image)
  stills = [image * 2 - 1]
  if depths is not None:
    compat = choices.depth_cleaning == "clip"
    stills.append(depth.depth_image(depths, compat=compat))
  control, *others = networks.encode_stills(video_vae, stills, frames)
  return control, others[0] if others else None


def decode_tracks(
  motion_vae: networks.BoundModule,
  latents: Float[Array, "B t h w C"],
  first_points: Float[Array, "B H W 3"],
  intrinsics: Float[Array, "B 4"],
  normalisation: motion.MotionNormalisation,
  smoother: Float[ArrayLike, "T T"] | None = None,
) -> Float[Array, "B T H W 3"]:
  """Trajectories in metres of normalised motion latents.

  Args:
    motion_vae: with the statistics of its latents.
    latents: normalised.
    first_points: where each point starts; frame 0 of the result.
    intrinsics: (fx, fy, cx, cy) in pixels.
    normalisation: what the networks were trained with.
    smoother: see `smoothing.smooth`.
  """
  raw = motion_vae.stats.denormalise(latents)
  moved = smoothing.smooth(networks.decode(motion_vae, raw), smoother)
  height, width = first_points.shape[1:3]
  alpha = normalisation.alpha(intrinsics, height, width)
  mode = normalisation.mode
  scale = motion.scale_of(moved, first_points, mode)
  return motion.denormalise(moved, first_points, alpha, mode, scale)


@dataclasses.dataclass(frozen=True)
class Settings:
  """What all pictures of a checkpoint share.

  Attributes:
    normalisation: what the networks were trained with.
    sampler: steps, guidance and schedule.
    choices: what the transformer is shown.
  """

  normalisation: motion.MotionNormalisation
  sampler: sampler_options.SamplerConfig
  choices: STraGChoices = DEFAULT


def encode_conditions(
  run: stages.Stages,
  batches: Sequence[Pictures],
  choices: STraGChoices = DEFAULT,
) -> list[strag.STraGConditions]:
  """All conditions of the velocity, computed once for each picture.

  The picture's reference latent is the first latent frame of the still video,
  because the autoencoder is causal.
  """
  features = []
  with run.borrow(FEATURES) as model:
    config = model.module.config
    for batch in run.counted(FEATURES, batches):
      features.append(run.call(_features, model, batch.images, choices=choices))
  found = []
  with run.borrow(LATENTS) as video_vae:
    pairs = list(zip(batches, features))
    for batch, (image_context, motion_features) in run.counted(LATENTS, pairs):
      control, depths = run.call(
        _latents,
        video_vae,
        batch.images,
        _shown_depths(batch, choices) if config.use_depth_latents else None,
        frames=batch.frames,
        choices=choices,
      )
      reference = control[:, 0] if config.dit.reference else None
      if reference is not None and choices.reference == "zeros":
        reference = np.zeros_like(reference)
      found.append(
        strag.STraGConditions(
          text_context=batch.text_context,
          control=control,
          depth=depths,
          reference=reference,
          image_context=image_context,
          motion_features=motion_features,
        )
      )
  return found


def _shown_depths(
  batch: Pictures, choices: STraGChoices
) -> Float[np.ndarray, "B H W"]:
  """Depth for the transformer, 0 where it is not known and "clip" cleans it."""
  if choices.depth_cleaning == "median" or batch.known is None:
    return batch.depths
  return np.where(batch.known, batch.depths, np.float32(0))


def sample_tracks(
  run: stages.Stages, batches: Sequence[Pictures], settings: Settings
) -> Iterator[Tracks]:
  """Draws one set of trajectories for each picture.

  Args:
    run: lends the networks "strag", "video_vae" and "motion_vae".
    batches: each goes through the networks at once; all go through a stage
      before the next one begins.
    settings: how they are drawn.

  Yields: the trajectories of each batch, when all are decoded and nothing is
    left on the devices: whoever takes them may begin stages of their own.
  """
  sampler = settings.sampler
  conditions = encode_conditions(run, batches, settings.choices)
  jobs = stages.jobs_of(batches, conditions, sampler)
  latents = run.draw(STEPS, jobs, sampler)
  pairs = list(zip(batches, latents))
  found = collections.deque()
  with run.borrow(DECODING) as motion_vae:
    for batch, drawn in run.counted(DECODING, pairs):
      tracks = run.call(
        _decoded,
        motion_vae,
        drawn.latents,
        batch.depths,
        batch.intrinsics,
        smoothing.smoother(batch.frames, sampler.smoothing),
        normalisation=settings.normalisation,
      )
      found.append(Tracks(tracks, drawn.computed))
  while found:  # What was given is not kept here.
    yield found.popleft()


@functools.partial(jax.jit, static_argnames="choices")
def _features(
  model: networks.BoundModule, images: Any, *, choices: STraGChoices
) -> Any:
  return encode_features(model, networks.unit(images), choices)


@functools.partial(jax.jit, static_argnames=("frames", "choices"))
def _latents(
  video_vae: networks.BoundModule,
  images: Any,
  depths: Any,
  *,
  frames: int,
  choices: STraGChoices,
) -> Any:
  image = networks.unit(images)
  return encode_latents(video_vae, image, depths, frames, choices)


@functools.partial(jax.jit, static_argnames="normalisation")
def _decoded(
  motion_vae: networks.BoundModule,
  latents: Any,
  depths: Any,
  intrinsics: Any,
  smoother: Any,
  *,
  normalisation: motion.MotionNormalisation,
) -> Any:
  first_points = cameras.unproject(depths, intrinsics)
  return decode_tracks(
    motion_vae, latents, first_points, intrinsics, normalisation, smoother
  )


def latent_shape(
  batch: int, frames: int, height: int, width: int
) -> tuple[int, int, int, int, int]:
  """Shape of the noise for pictures of a size.

  Raises:
    ValueError: unless there are 4 k + 1 frames and whole latent cells.
  """
  if frames % 4 != 1 or height % 16 or width % 16:
    raise ValueError(
      "expected 4 k + 1 frames and sides that are multiples of 16, found "
      f"{frames} frames of {height} x {width}"
    )
  grid = ((frames - 1) // 4 + 1, height // 8, width // 8)
  return (batch, *grid, strag.LATENT_CHANNELS)
