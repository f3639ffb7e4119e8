"""Frames a second of the point renderer: 368 x 512, a point for each pixel."""

import jax
import numpy as np

from benchmarks.device import measuring
from more4d_jax.geometry import camera_paths
from more4d_jax.kernels import timing
from more4d_jax.rendering import render_video


def main() -> None:
  """Prints one line."""
  short = measuring.reduced(__doc__)
  frames, height, width = (5, 32, 48) if short else (49, 368, 512)
  fx = 0.9 * width
  intrinsics = np.asarray([fx, fx, width / 2, height / 2], np.float32)
  y, x = np.mgrid[:height, :width] + 0.5
  depth = 3 + np.sin(x / 17) + np.cos(y / 23)
  first = np.stack(
    [(x - width / 2) / fx * depth, (y - height / 2) / fx * depth, depth], -1
  ).astype(np.float32)
  tracks = np.repeat(first[None], frames, axis=0)
  colours = np.random.default_rng(0).integers(
    0, 256, (height, width, 3), np.uint8
  )
  centre = camera_paths.scene_centre(first)
  poses = camera_paths.named_path("circular", frames, centre)
  line = {"frames": frames, "size": f"{height}x{width}"}
  with measuring.attempt(line), jax.set_mesh(measuring.device_mesh()):
    taken = timing.seconds(
      lambda: render_video.render_video(tracks, colours, poses, intrinsics), 5
    )
    line["frames_a_second"] = round(frames / taken, 1)


if __name__ == "__main__":
  main()
