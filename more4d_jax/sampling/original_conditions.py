"""What the original shows its networks, for weights that were trained on it.

`PRESET` names the original's choices, by which converted weights are sampled
with `--conditions original`; this module holds what they compute. Source:
docs/method/conditioning.md, docs/differences.md.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from more4d_jax.geometry import cameras_compat

# Kind of network -> fields of `STraGChoices` or `ViSMChoices`.
PRESET: Mapping[str, Mapping[str, str]] = {
  "strag": {
    "image_context": "grey",
    "reference": "zeros",
    "colours": "truncated",
    "depth_cleaning": "clip",
    "camera": "original",
  },
  "vism": {"image_context": "zeros", "holes": "grey"},
}


def colours(picture: Float[Array, "B H W 3"]) -> Float[Array, "B H W 3"]:
  """The colours of a picture as the original shows them.

  It brings pictures to [-1, 1] in bfloat16, back to [0, 1] in bfloat16, and
  cuts them to 8 bits: 95 of the 256 levels become the next darker one.

  Args:
    picture: in [0, 1].
  """
  middle = _bfloat16(_bfloat16(picture * 2 - 1) + 1)
  return truncated(middle / 2)


def truncated(picture: Float[Array, "B H W 3"]) -> Float[Array, "B H W 3"]:
  """Colours in [0, 1] cut to 8 bits, not rounded."""
  return jnp.floor(jnp.clip(picture, 0.0, 1.0) * 255) / 255


def _bfloat16(values: Float[Array, "*B"]) -> Float[Array, "*B"]:
  """Values of bfloat16, whatever precision a compiler would rather keep."""
  return jax.lax.reduce_precision(values, exponent_bits=8, mantissa_bits=7)


def camera(
  size: tuple[int, int],
  source: tuple[int, int] = cameras_compat.INFERENCE_SOURCE,
) -> Float[np.ndarray, "4"]:
  """The one camera that stands for every picture's.

  Its first and last pixels lie on the borders of the picture; in pixels whose
  centres lie half a pixel inside, that is a camera with a slightly shorter
  focal length.

  Args:
    size: (H, W) that the networks work at.
    source: (H, W) of the pictures that it was made for.

  Returns: (fx, fy, cx, cy) in pixels.
  """
  height, width = size
  ax, ay = cameras_compat.aspect_alpha(source, size)
  values = ax * (width - 1), ay * (height - 1), width / 2, height / 2
  return np.asarray(values, np.float32)
