"""From a picture, its depth and a caption to trajectories (4D-STraG).

Picture and depth become latents of a still video, the transformer draws the
latent of a motion video under them, and its decoded motion moves the points
of the first frame.
"""

import dataclasses

import flax.struct
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from more4d_jax.geometry import cameras, depth, motion, smoothing
from more4d_jax.models import strag
from more4d_jax.sampling import (
  caching,
  denoising,
  networks,
  original_conditions,
  sampler_options,
)

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
    colours: "truncated" cuts the picture's colours as the original does.
    depth_cleaning: "clip" cleans depth by the original's rule; see
      `depth.clean_depth`.
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


@flax.struct.dataclass
class STraGNetworks:
  """What the chain from picture to trajectories needs.

  Attributes:
    video_vae: encodes the conditions; with the statistics of its latents.
    motion_vae: decodes motion; with the statistics of its latents.
    strag: the transformer and its encoders.
  """

  video_vae: networks.BoundModule
  motion_vae: networks.BoundModule
  strag: networks.BoundModule


@flax.struct.dataclass
class STraGInputs:
  """Pictures to set in motion.

  Attributes:
    image: in [0, 1].
    depth: metres, finite and positive.
    intrinsics: (fx, fy, cx, cy) in pixels.
    tokens: of the captions.
    negative_tokens: of what guidance leads away from.
  """

  image: Float[Array, "B H W 3"]
  depth: Float[Array, "B H W"]
  intrinsics: Float[Array, "B 4"]
  tokens: Int[Array, "B L"]
  negative_tokens: Int[Array, "B L"]


def encode_conditions(
  nets: STraGNetworks,
  inputs: STraGInputs,
  frames: int,
  choices: STraGChoices = DEFAULT,
) -> strag.STraGConditions:
  """All conditions of the velocity, computed once for each picture.

  The picture's reference latent is the first latent frame of the still video,
  because the autoencoder is causal.
  """
  config = nets.strag.module.config
  picture = inputs.image
  if choices.colours == "truncated":
    picture = original_conditions.truncated(picture)
  stills = [picture * 2 - 1]
  if config.use_depth_latents:
    compat = choices.depth_cleaning == "clip"
    stills.append(depth.depth_image(inputs.depth, compat=compat))
  control, *others = networks.encode_stills(nets.video_vae, stills, frames)
  reference = None
  if config.dit.reference:
    reference = control[:, 0]
    if choices.reference == "zeros":
      reference = jnp.zeros_like(reference)
  return strag.STraGConditions(
    text_context=nets.strag(inputs.tokens, method="text_context"),
    control=control,
    depth=others[0] if others else None,
    reference=reference,
    image_context=networks.image_context(
      nets.strag, inputs.image, choices.image_context
    ),
    motion_features=nets.strag(inputs.image, method="motion_features"),
  )


def decode_tracks(
  motion_vae: networks.BoundModule,
  latents: Float[Array, "B t h w C"],
  first_points: Float[Array, "B H W 3"],
  intrinsics: Float[Array, "B 4"],
  normalisation: motion.MotionNormalisation,
  smoothness: float = 0.0,
) -> Float[Array, "B T H W 3"]:
  """Trajectories in metres of normalised motion latents.

  Args:
    motion_vae: with the statistics of its latents.
    latents: normalised.
    first_points: where each point starts; frame 0 of the result.
    intrinsics: (fx, fy, cx, cy) in pixels.
    normalisation: what the networks were trained with.
    smoothness: see `smoothing.smooth`.
  """
  raw = motion_vae.stats.denormalise(latents)
  moved = smoothing.smooth(networks.decode(motion_vae, raw), smoothness)
  height, width = first_points.shape[1:3]
  alpha = normalisation.alpha(intrinsics, height, width)
  mode = normalisation.mode
  scale = motion.scale_of(moved, first_points, mode)
  return motion.denormalise(moved, first_points, alpha, mode, scale)


def sample_tracks(
  nets: STraGNetworks,
  inputs: STraGInputs,
  noise: Float[Array, "B t h w C"],
  normalisation: motion.MotionNormalisation,
  sampler: sampler_options.SamplerConfig,
  choices: STraGChoices = DEFAULT,
) -> tuple[Float[Array, "B T H W 3"], Bool[Array, "n"]]:
  """Draws one set of trajectories for each picture.

  Args:
    nets: the networks.
    inputs: pictures of one size.
    noise: standard normal; its t fixes the number of frames, 4 (t - 1) + 1.
    normalisation: what the networks were trained with.
    sampler: steps, guidance and schedule.
    choices: what the transformer is shown.

  Returns: metres, in the first camera's frame; frame 0 is the unprojected
    depth. And the steps at which the transformer's layers ran.
  """
  frames = 4 * (noise.shape[1] - 1) + 1
  conditions = encode_conditions(nets, inputs, frames, choices)
  negative = None
  if caching.guided_steps(sampler):
    # All but the text is alike in both halves of a guided batch.
    context = nets.strag(inputs.negative_tokens, method="text_context")
    negative = conditions.replace(text_context=context)
  drawn = denoising.draw(nets.strag, conditions, negative, noise, sampler)
  first_points = cameras.unproject(inputs.depth, inputs.intrinsics)
  tracks = decode_tracks(
    nets.motion_vae,
    drawn.latents,
    first_points,
    inputs.intrinsics,
    normalisation,
    sampler.smoothing,
  )
  return tracks, drawn.computed


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
