"""Crop, resize and mirror: one plan applied to every field of a record.

Pictures are resized with an antialiasing filter. Depth, visibility and tracks
are taken from the nearest pixel, because a mean over an object's edge is a
point that does not exist.
"""

import dataclasses

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image


@dataclasses.dataclass(frozen=True)
class Framing:
  """First resize from `source` to `resized`, then cut a window, then mirror.

  Attributes:
    source: height and width of the record.
    resized: height and width before cutting.
    size: height and width of the window.
    top: first row of the window.
    left: first column of the window.
    mirror: whether left and right change places.
  """

  source: tuple[int, int]
  resized: tuple[int, int]
  size: tuple[int, int]
  top: int = 0
  left: int = 0
  mirror: bool = False

  @property
  def scales(self) -> tuple[float, float]:
    """Factors of heights and widths."""
    return (
      self.resized[0] / self.source[0],
      self.resized[1] / self.source[1],
    )


def plan(
  source: tuple[int, int],
  size: tuple[int, int],
  *,
  offsets: tuple[float, float] = (0.5, 0.5),
  mirror: bool = False,
) -> Framing:
  """The largest window of the wanted aspect, resized to `size`.

  Args:
    source: height and width there are.
    size: height and width wanted.
    offsets: where the window lies in what is too much, 0 first, 1 last, down
      and across.
    mirror: whether to exchange left and right afterwards.
  """
  scale = max(size[0] / source[0], size[1] / source[1])
  resized = tuple(
    max(wanted, round(there * scale)) for there, wanted in zip(source, size)
  )
  top, left = (
    int(offset * (there - wanted) + 0.5)
    for offset, there, wanted in zip(offsets, resized, size)
  )
  return Framing(tuple(source), resized, tuple(size), top, left, mirror)


def frame_video(
  video: UInt8[np.ndarray, "T H W 3"], framing: Framing
) -> UInt8[np.ndarray, "T h w 3"]:
  """Frames in their new size."""
  if framing.resized != framing.source:
    height, width = framing.resized
    video = np.stack(
      [
        np.asarray(
          Image.fromarray(picture).resize(
            (width, height), Image.Resampling.BICUBIC
          )
        )
        for picture in video
      ]
    )
  rows = slice(framing.top, framing.top + framing.size[0])
  columns = slice(framing.left, framing.left + framing.size[1])
  video = video[:, rows, columns]
  return np.ascontiguousarray(video[:, :, ::-1] if framing.mirror else video)


def frame_map(array: np.ndarray, framing: Framing) -> np.ndarray:
  """[T H W ...] values of the nearest pixels, [T h w ...]."""
  rows, columns = (
    np.minimum(
      ((np.arange(wanted) + first + 0.5) / scale).astype(int), there - 1
    )
    for wanted, first, scale, there in zip(
      framing.size,
      (framing.top, framing.left),
      framing.scales,
      framing.source,
    )
  )
  if framing.mirror:
    columns = columns[::-1]
  return array[:, rows[:, None], columns]


def frame_intrinsics(
  intrinsics: Float32[np.ndarray, "4"], framing: Framing
) -> Float32[np.ndarray, "4"]:
  """(fx, fy, cx, cy) of the new pixels."""
  fx, fy, cx, cy = intrinsics.astype(np.float64)
  down, across = framing.scales
  cx, cy = cx * across - framing.left, cy * down - framing.top
  if framing.mirror:
    cx = framing.size[1] - cx
  return np.array([fx * across, fy * down, cx, cy], np.float32)


def frame_tracks(
  tracks: Float32[np.ndarray, "T H W 3"],
  intrinsics: Float32[np.ndarray, "4"],
  framing: Framing,
) -> Float32[np.ndarray, "T h w 3"]:
  """Tracks of the new pixels.

  Where the size changes, the nearest point's path is shifted sideways by less
  than a pixel, as a whole, so that it starts on the new pixel's ray.
  """
  tracks = frame_map(tracks, framing)
  if framing.mirror:
    tracks = tracks * np.array([-1, 1, 1], np.float32)
  if framing.resized == framing.source:
    return tracks
  fx, fy, cx, cy = frame_intrinsics(intrinsics, framing)
  depth = tracks[0, :, :, 2]
  columns = (np.arange(framing.size[1], dtype=np.float32) + 0.5 - cx) / fx
  rows = (np.arange(framing.size[0], dtype=np.float32) + 0.5 - cy) / fy
  first = np.stack([columns * depth, rows[:, None] * depth, depth], axis=-1)
  moved = tracks + (first - tracks[0])
  moved[0] = first
  return moved


def frame_poses(
  world_from_camera: Float32[np.ndarray, "T 4 4"], framing: Framing
) -> Float32[np.ndarray, "T 4 4"]:
  """Poses in a world that is mirrored too."""
  if not framing.mirror:
    return world_from_camera
  mirror = np.array([-1, 1, 1, 1], np.float32)
  return world_from_camera * mirror[:, None] * mirror
