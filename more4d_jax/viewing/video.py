"""Reading and writing mp4 files: H.264 through PyAV."""

import fractions
import os

import av
import numpy as np
from jaxtyping import UInt8

from more4d_jax import errors, whole_files


def write_video(
  path: str | os.PathLike,
  frames: UInt8[np.ndarray, "T H W 3"],
  fps: float | int,
  *,
  min_side: int = 0,
  quality: int = 16,
) -> None:
  """Writes an mp4 file that browsers and players show (H.264, 4:2:0).

  Odd sizes are extended by one row or column. The file appears under its name
  only when it is complete.

  Args:
    path: the file; its folder must exist.
    frames: RGB, at least one frame.
    fps: frames per second.
    min_side: pixels are repeated until the shorter side reaches this size, so
      that small videos are shown larger; 0 keeps the size.
    quality: constant rate factor of x264; smaller is better, 0 is lossless
      but for the colour planes.

  Raises:
    UserError: the folder does not exist.
  """
  path = os.path.abspath(os.fspath(path))
  folder = os.path.dirname(path)
  if not os.path.isdir(folder):
    raise errors.UserError(
      f"{folder}: no such folder to write a video to; create it first"
    )
  frames = enlarge(frames, -(-min_side // min(frames.shape[1:3])))
  odd = [(0, size % 2) for size in frames.shape[1:3]]
  frames = np.pad(frames, [(0, 0), *odd, (0, 0)], mode="edge")
  with whole_files.replaced(path, ".part.mp4") as name:
    _encode(name, frames, fps, quality)


def read_video(
  path: str | os.PathLike,
) -> tuple[UInt8[np.ndarray, "T H W 3"], float]:
  """All frames of the first video stream, RGB, and frames per second.

  Raises:
    UserError: missing file, or nothing in it that can be decoded.
  """
  path = os.fspath(path)
  if not os.path.isfile(path):
    raise errors.UserError(f"{path}: no such video file")
  try:
    with av.open(path) as container:
      if not container.streams.video:
        raise errors.UserError(f"{path}: holds no video stream")
      stream = container.streams.video[0]
      fps = float(stream.average_rate or 0)
      frames = [f.to_ndarray(format="rgb24") for f in container.decode(stream)]
  except av.FFmpegError as error:
    raise errors.UserError(
      f"{path}: expected a video file; it cannot be decoded ({error})"
    ) from error
  if not frames:
    raise errors.UserError(f"{path}: holds no video frames")
  return np.stack(frames), fps


def enlarge(
  frames: UInt8[np.ndarray, "T H W 3"], factor: int
) -> UInt8[np.ndarray, "T h w 3"]:
  """Repeats every pixel `factor` times each way; below 2 changes nothing."""
  if factor < 2:
    return frames
  return frames.repeat(factor, axis=1).repeat(factor, axis=2)


def _encode(
  path: str,
  frames: UInt8[np.ndarray, "T H W 3"],
  fps: float | int,
  quality: int,
) -> None:
  with av.open(path, "w", options={"movflags": "faststart"}) as container:
    rate = fractions.Fraction(fps).limit_denominator(1000)
    stream = container.add_stream("libx264", rate=rate)
    stream.height, stream.width = frames.shape[1:3]
    stream.pix_fmt = "yuv420p"
    stream.thread_count = 1  # The same input gives the same bytes.
    stream.options = {"crf": str(quality), "preset": "medium"}
    for frame in frames:
      picture = av.VideoFrame.from_ndarray(
        np.ascontiguousarray(frame), format="rgb24"
      )
      container.mux(stream.encode(picture))
    container.mux(stream.encode(None))
