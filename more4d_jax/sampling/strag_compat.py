"""What the original hands its trajectory generator for a picture.

Released weights were trained and are run on these: an 8-bit picture as a
still video, a grey picture for the image encoder, and depth at the border
convention of `geometry.cameras_compat`. Source:
docs/method/conditioning.md#latent-conditions.
"""

import flax.struct
import jax.numpy as jnp
from jaxtyping import Array, Float, UInt8

from more4d_jax.geometry import cameras_compat, depth

_GREY = 127  # Zero motion as an 8-bit colour, cut like all others.


@flax.struct.dataclass
class Prepared:
  """Conditions of released weights before they are encoded.

  Attributes:
    colours: of the points.
    picture: in [0, 1]; the control video repeats it, and it is the reference.
    depth_picture: in [-1, 1].
    image_encoder_picture: what the image encoder sees.
    first_points: metres, in the first camera's frame.
  """

  colours: UInt8[Array, "B H W 3"]
  picture: Float[Array, "B H W 3"]
  depth_picture: Float[Array, "B H W 3"]
  image_encoder_picture: UInt8[Array, "B H W 3"]
  first_points: Float[Array, "B H W 3"]


def prepare(
  image: Float[Array, "B H W 3"],
  depth_map: Float[Array, "B h w"],
  source: tuple[int, int] = cameras_compat.INFERENCE_SOURCE,
) -> Prepared:
  """Brings a picture and its depth into the form released weights know.

  Args:
    image: in [-1, 1]; colours are cut to 8 bits, not rounded.
    depth_map: metres; resized to the picture.
    source: (H, W) that stands for every picture's own size.
  """
  height, width = image.shape[1:3]
  colours = (jnp.clip(image / 2 + 0.5, 0.0, 1.0) * 255).astype(jnp.uint8)
  alpha = cameras_compat.aspect_alpha(source, (height, width))
  points = cameras_compat.unproject(depth_map, (height, width), alpha)
  return Prepared(
    colours=colours,
    picture=colours.astype(jnp.float32) / 255,
    depth_picture=depth.depth_image(points[..., 2], compat=True),
    image_encoder_picture=jnp.full_like(colours, _GREY),
    first_points=points,
  )
