"""Small records with known content, for the tests of several rooms."""

import numpy as np

from more4d_jax.data import records


def record(
  seed: int = 0,
  frames: int = 5,
  height: int = 12,
  width: int = 17,
  *,
  light: bool = False,
  views: int = 0,
  renderings: int = 0,
  sparse: bool = False,
) -> records.Record:
  """A bumpy wall in front of which a square slides to the right and back.

  The sparse one follows the points of each third pixel of the fourth row.
  """
  rng = np.random.default_rng(seed)
  fx, fy, cx, cy = 20.0, 19.0, width / 2, height / 2 + 0.25
  depth = (3 + rng.random((height, width))).astype(np.float32)
  x = (np.arange(width) + 0.5 - cx) / fx * depth
  y = (np.arange(height)[:, None] + 0.5 - cy) / fy * depth
  first = np.stack([x, y, depth], -1).astype(np.float32)
  tracks = np.repeat(first[None], frames, 0)
  moving = np.zeros((height, width), bool)
  moving[2 : height // 2, 2 : width // 2] = True
  for t in range(frames):
    tracks[t, moving] += np.float32([0.1 * np.sin(t), 0, 0.01 * t])
  video_frames = 1 if light else frames
  ramp = np.linspace(20, 230, width)[None, :, None] + np.zeros((height, 1, 3))
  video = np.stack([ramp + 3 * t for t in range(video_frames)])
  poses = np.repeat(np.eye(4, dtype=np.float32)[None], frames, 0)
  visible = rng.random((frames, height, width)) > 0.3
  points = records.Points(
    pixels=np.float32([[column + 0.5, 3.5] for column in range(0, width, 3)]),
    query_frames=np.zeros(len(range(0, width, 3)), np.int32),
    tracks=tracks[:, 3, ::3].copy(),
    visible=visible[:, 3, ::3].copy(),
  )
  return records.Record(
    id=f"toy-{seed}",
    caption=f"square {seed} slides to the right",
    source=f"test:{seed}",
    licence="CC0-1.0",
    fps=8.0,
    frame_indices=np.arange(frames, dtype=np.int32),
    video=video.astype(np.uint8),
    tracks=None if sparse else tracks,
    visible=None if sparse else visible,
    points=points if sparse else None,
    depth=np.repeat(depth[None], video_frames, 0),
    intrinsics=np.array([fx, fy, cx, cy], np.float32),
    world_from_camera=poses,
    tracks_frame="first_camera",
    segmentation=moving.astype(np.uint8),
    views=tuple(
      records.View(
        poses.copy(), np.full((frames, height, width, 3), v, np.uint8)
      )
      for v in range(views)
    ),
    renderings=tuple(
      records.Rendering(
        poses.copy(),
        np.full((frames, height, width, 3), 50 * v, np.uint8),
        np.roll(visible, v, axis=1),
      )
      for v in range(renderings)
    ),
  )
