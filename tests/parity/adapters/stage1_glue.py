"""What the first pipeline is given, and the points of what it returns."""

import pathlib

import jax.numpy as jnp
import numpy as np

from more4d_jax.geometry import cameras_compat, depth, motion
from more4d_jax.sampling import networks, original_conditions
from tests.parity.adapters import wan_weights
from tests.parity.original import cameras as original_cameras

_first, _last = wan_weights.channels_first, wan_weights.channels_last


def run(folder: pathlib.Path) -> dict[str, np.ndarray]:
  """Every required key of the folder."""
  info, io, _ = wan_weights.read(folder)
  # The original rounds down to whole groups of four behind the first frame.
  frames = (info["video_num_frames"] - 1) // 4 * 4 + 1
  image = jnp.asarray(_last(io["in.image"]))
  size = image.shape[1:3]
  picture = original_conditions.truncated(image / 2 + 0.5)
  control = jnp.repeat(picture[:, None], frames, axis=1)
  alpha = cameras_compat.aspect_alpha(cameras_compat.INFERENCE_SOURCE, size)
  points = original_cameras.unproject(
    jnp.asarray(io["in.depth"][:, 0]), size, alpha
  )
  depth_picture = depth.depth_image(points[..., 2], compat=True)
  moved = jnp.asarray(_last(io["in.recon"]))
  mode = "first_frame_range"
  scale = motion.scale_of(moved, points, mode)
  ones = jnp.ones((len(image), 2))
  tracks = motion.denormalise(moved, points, ones, mode, scale)
  colours = np.rint(np.asarray(picture) * 255).astype(np.uint8)
  grey = np.full(colours.shape[1:], np.rint(networks.GREY * 255), np.uint8)
  return {
    "out.control_video": _first(control),
    "out.ref_image": _first(picture[:, None]),
    "out.depth_image": _first(depth_picture[:, None]),
    "out.clip_image": grey,
    "out.colors": colours.reshape(len(image), -1, 3),
    "out.coords.first_frame": _first(tracks),
    "out.num_frames": np.asarray(control.shape[1]),
  }
