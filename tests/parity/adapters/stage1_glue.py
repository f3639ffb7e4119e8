"""What the first pipeline is given, and the points of what it returns."""

import pathlib

import jax.numpy as jnp
import numpy as np

from more4d_jax.geometry import motion
from more4d_jax.sampling import strag_compat
from tests.parity.adapters import wan_weights

_first, _last = wan_weights.channels_first, wan_weights.channels_last


def run(folder: pathlib.Path) -> dict[str, np.ndarray]:
  """Every required key of the folder."""
  info, io, _ = wan_weights.read(folder)
  # The original rounds down to whole groups of four behind the first frame.
  frames = (info["video_num_frames"] - 1) // 4 * 4 + 1
  image = jnp.asarray(_last(io["in.image"]))
  prepared = strag_compat.prepare(image, jnp.asarray(io["in.depth"][:, 0]))
  control = jnp.repeat(prepared.picture[:, None], frames, axis=1)
  moved = jnp.asarray(_last(io["in.recon"]))
  mode = "first_frame_range"
  scale = motion.scale_of(moved, prepared.first_points, mode)
  tracks = motion.denormalise(
    moved, prepared.first_points, jnp.ones((len(image), 2)), mode, scale
  )
  return {
    "out.control_video": _first(control),
    "out.ref_image": _first(prepared.picture[:, None]),
    "out.depth_image": _first(prepared.depth_picture[:, None]),
    "out.clip_image": np.asarray(prepared.image_encoder_picture[0]),
    "out.colors": np.asarray(prepared.colours).reshape(len(image), -1, 3),
    "out.coords.first_frame": _first(tracks),
    "out.num_frames": np.asarray(control.shape[1]),
  }
