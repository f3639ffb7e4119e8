"""Videos, pictures and NumPy files of others, read with limits.

Nothing here unpickles, and no size that a file claims is believed before it
has been compared with a limit.
"""

import dataclasses
import io
import math
import os
import pathlib
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import IO, Any

import av
import numpy as np
from jaxtyping import UInt8
from PIL import Image

from data_pipelines.importers import scene as scene_lib

_BROKEN = (
  av.FFmpegError,
  OSError,
  EOFError,
  ValueError,
  NotImplementedError,
  SyntaxError,  # What Pillow makes of some broken pictures.
  struct.error,
  zlib.error,
  zipfile.BadZipFile,
)
VIDEO_SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".avi")
_MOST_PIXELS = 1 << 25  # Of one picture: somewhat more than 7680x4320.


def read_video(
  file: str | os.PathLike[str] | IO[bytes],
  max_values: int,
  max_frames: int | None = None,
) -> tuple[np.ndarray, float]:
  """The frames [F H W 3] uint8 of a video, and its frames a second.

  Args:
    file: its path or content.
    max_values: frames times pixels that may be read.
    max_frames: number of frames to read; None reads all.

  Raises:
    Refused: it cannot be decoded, is empty or larger than `max_values`
      (frames times pixels).
  """
  frames, values = [], 0
  if isinstance(file, os.PathLike):
    file = os.fspath(file)
  try:
    with av.open(file) as container:
      if not container.streams.video:
        raise scene_lib.Refused("the video file has no video in it")
      stream = container.streams.video[0]
      fps = float(stream.average_rate or 0)
      _check_pixels(stream.width, stream.height, "the video")
      for frame in container.decode(stream):
        values += frame.width * frame.height
        if values > max_values:
          raise scene_lib.Refused(
            f"the video has more than {max_values} pixels in all its frames"
          )
        frames.append(frame.to_ndarray(format="rgb24"))
        if len(frames) == max_frames:
          break
  except _BROKEN as error:
    raise scene_lib.Refused(f"the video cannot be decoded ({error})") from error
  if not frames:
    raise scene_lib.Refused("the video has no frames")
  if len({frame.shape for frame in frames}) > 1:
    raise scene_lib.Refused("the frames of the video have several sizes")
  return np.stack(frames), fps


@dataclasses.dataclass(frozen=True)
class Clip:
  """Neighbouring frames of a film.

  Attributes:
    frames: the pictures.
    numbers: of the frames in the film, evenly spaced.
    fps: frames a second.
  """

  frames: UInt8[np.ndarray, "T H W 3"]
  numbers: range
  fps: float


def clips(
  file: str | os.PathLike[str],
  *,
  length: int,
  fps: float,
  size_of: Callable[[tuple[int, int]], tuple[int, int]],
) -> Iterator[Clip]:
  """The clips of a film, of which one is in memory at a time.

  Args:
    file: its path.
    length: frames of a clip; fewer at the end of a film are left out, unless
      they are all there is.
    fps: most frames a second; of a faster film every second, third, ... is
      taken.
    size_of: height and width of the film -> those of the frames.

  Raises:
    Refused: it cannot be decoded, or has no frames.
  """
  rate, size = _film_facts(file)
  step = max(1, math.ceil(rate / fps - 1e-6))
  frames, start, size = [], 0, size_of(size)
  try:
    with av.open(os.fspath(file)) as container:
      for number, frame in enumerate(container.decode(video=0)):
        if number % step:
          continue
        start = start if frames else number
        pixels = frame.to_ndarray(format="rgb24")
        frames.append(resized(pixels[None], size)[0])
        if len(frames) == length:
          numbers = range(start, start + step * length, step)
          yield Clip(np.stack(frames), numbers, rate / step)
          frames = []
  except _BROKEN as error:
    raise scene_lib.Refused(f"the video cannot be decoded ({error})") from error
  if start == 0 and frames:
    numbers = range(0, step * len(frames), step)
    yield Clip(np.stack(frames), numbers, rate / step)


def _film_facts(
  file: str | os.PathLike[str],
) -> tuple[float, tuple[int, int]]:
  """Frames a second, height and width."""
  try:
    with av.open(os.fspath(file)) as container:
      if not container.streams.video:
        raise scene_lib.Refused("the video file has no video in it")
      stream = container.streams.video[0]
      rate, size = (
        float(stream.average_rate or 0),
        (stream.height, stream.width),
      )
  except _BROKEN as error:
    raise scene_lib.Refused(f"the video cannot be decoded ({error})") from error
  _check_pixels(*size[::-1], "the video")
  if not rate > 0:
    raise scene_lib.Refused("the video does not say how many frames a second")
  return rate, size


def read_picture(file: str | os.PathLike[str] | bytes) -> np.ndarray:
  """A picture [H W 3] uint8.

  Raises:
    Refused: it cannot be decoded.
  """
  return _picture(file, "RGB")


def read_depth_png(file: str | os.PathLike[str] | bytes) -> np.ndarray:
  """A one-channel picture of 16 bits, [H W] uint16."""
  return _picture(file, None).astype(np.uint16)


def _picture(file: Any, mode: str | None) -> np.ndarray:
  source = io.BytesIO(file) if isinstance(file, bytes) else file
  try:
    with warnings.catch_warnings():  # The limit below is lower than Pillow's.
      warnings.simplefilter("ignore", Image.DecompressionBombWarning)
      with Image.open(source) as picture:
        _check_pixels(*picture.size, "a picture")
        return np.asarray(picture if mode is None else picture.convert(mode))
  except (*_BROKEN, Image.DecompressionBombError) as error:
    name = "a picture" if isinstance(file, bytes) else str(file)
    raise scene_lib.Refused(f"{name} cannot be decoded ({error})") from error


def _check_pixels(width: int, height: int, name: str) -> None:
  if width * height > _MOST_PIXELS:
    raise scene_lib.Refused(
      f"{name} claims {width} x {height} pixels, more than the limit of "
      f"{_MOST_PIXELS}"
    )


def pictures(paths: list[pathlib.Path]) -> scene_lib.Frames:
  """Frames that lie in one picture file each."""
  return lambda numbers: np.stack([read_picture(paths[n]) for n in numbers])


def resized(video: np.ndarray, size: tuple[int, int]) -> np.ndarray:
  """Frames [T H W 3] in another size, antialiased."""
  if video.shape[1:3] == size:
    return video
  height, width = size
  return np.stack(
    [
      np.asarray(
        Image.fromarray(frame).resize((width, height), Image.Resampling.BICUBIC)
      )
      for frame in video
    ]
  )


def nearest(maps: np.ndarray, size: tuple[int, int]) -> np.ndarray:
  """Maps [T H W] in another size, each value that of the nearest pixel."""
  if maps.shape[1:3] == size:
    return maps
  rows, columns = (
    np.minimum(((np.arange(new) + 0.5) * old / new).astype(int), old - 1)
    for new, old in zip(size, maps.shape[1:3])
  )
  return maps[:, rows[:, None], columns]


def read_npz(
  path: str | os.PathLike[str],
  max_bytes: int,
  *,
  required: Iterable[str] = (),
  skip: Iterable[str] = (),
) -> dict[str, np.ndarray]:
  """The arrays of an .npz file; arrays of Python objects are refused.

  Args:
    path: the file.
    max_bytes: limit of one array.
    required: names that must be there.
    skip: names that are not read.

  Raises:
    Refused: no such file, damaged, too large, or a name is missing.
  """
  arrays, skip = {}, set(skip)
  try:
    with zipfile.ZipFile(path) as archive:
      for info in archive.infolist():
        name = info.filename.removesuffix(".npy")
        if name not in skip:
          arrays[name] = _member(archive, info, max_bytes)
  except _BROKEN as error:
    raise scene_lib.Refused(
      f"{pathlib.Path(path).name} cannot be read ({error})"
    ) from error
  need(arrays, required, pathlib.Path(path).name)
  return arrays


def read_npy(path: str | os.PathLike[str], max_bytes: int) -> np.ndarray:
  """One array file, with the checks of `read_npz`."""
  try:
    size = os.path.getsize(path)
    with open(path, "rb") as file:
      return _array(file, size, pathlib.Path(path).name, max_bytes)
  except _BROKEN as error:
    raise scene_lib.Refused(
      f"{pathlib.Path(path).name} cannot be read ({error})"
    ) from error


def need(arrays: Mapping[str, Any], names: Iterable[str], where: str) -> None:
  """Raises Refused unless all names are there."""
  missing = [name for name in names if name not in arrays]
  if missing:
    raise scene_lib.Refused(
      f"{where} has no {', '.join(missing)}; it has "
      f"{', '.join(sorted(arrays)) or 'nothing'}"
    )


def _member(
  archive: zipfile.ZipFile, info: zipfile.ZipInfo, max_bytes: int
) -> np.ndarray:
  with archive.open(info) as file:
    return _array(file, info.file_size, info.filename, max_bytes)


def _array(file: IO[bytes], size: int, name: str, max_bytes: int) -> np.ndarray:
  """Reads one array whose header promises no more than is there."""
  if size > max_bytes:
    raise scene_lib.Refused(
      f"{name} has {size} bytes, more than the limit of {max_bytes}"
    )
  version = np.lib.format.read_magic(file)
  read_header = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
  }.get(version)
  if read_header is None:
    raise scene_lib.Refused(f"{name} has an unknown version {version}")
  shape, fortran, dtype = read_header(file)
  if dtype.hasobject:
    raise scene_lib.Refused(
      f"{name} holds Python objects, which would need unpickling; save it "
      f"again as plain arrays"
    )
  count = math.prod(shape)
  if count * dtype.itemsize > size:
    raise scene_lib.Refused(f"{name} claims {shape} {dtype}, but is smaller")
  flat = np.frombuffer(file.read(count * dtype.itemsize), dtype)
  if len(flat) != count:
    raise scene_lib.Refused(f"{name} is cut off")
  if fortran:
    return flat.reshape(shape[::-1]).transpose()
  return flat.reshape(shape)


def same_shapes(
  arrays: Mapping[str, np.ndarray],
  shapes: Mapping[str, tuple[int, ...]],
  where: str,
) -> None:
  """Raises Refused unless every named array has its shape."""
  for name, shape in shapes.items():
    if arrays[name].shape != shape:
      raise scene_lib.Refused(
        f"{name} of {where} is {arrays[name].shape}; expected {shape}"
      )
