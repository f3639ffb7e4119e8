"""Tracks in files of TAPVid-3D's layout (arXiv 2407.05921), read and written.

One `.npz` per film: `tracks_XYZ` [T N 3] float32, metres in each frame's
camera (x right, y down, z forward); `visibility` [T N] bool; and for the
film itself `images_jpeg_bytes` [T] JPEG files as byte strings, `fx_fy_cx_cy`
[4] in pixels, and `queries_xyt` [N 3]: pixel and frame in which each point is
asked for, pixel centres at + 0.5. Predictions need the first two only.
"""

import dataclasses
import io
import os
from collections.abc import Sequence

import numpy as np
import PIL.Image
from jaxtyping import Bool, Float, UInt8

from more4d_jax import array_files, errors, pictures, whole_files

_JPEG_QUALITY = 95
_TRACKS = ("tracks_XYZ", "visibility")
_FILM = ("fx_fy_cx_cy", "images_jpeg_bytes")


@dataclasses.dataclass(frozen=True)
class Tracks:
  """What a prediction is.

  Attributes:
    positions: metres, in each frame's camera.
    visible: whether the camera sees the point.
  """

  positions: Float[np.ndarray, "T N 3"]
  visible: Bool[np.ndarray, "T N"]


@dataclasses.dataclass(frozen=True)
class Film:
  """Tracks with the film they belong to.

  Attributes:
    tracks: of its points.
    intrinsics: (fx, fy, cx, cy) in pixels.
    size: (H, W) of its pictures.
  """

  tracks: Tracks
  intrinsics: Float[np.ndarray, "4"]
  size: tuple[int, int]


def write(
  path: str | os.PathLike[str],
  tracks: Tracks,
  intrinsics: Float[np.ndarray, "4"],
  queries: Float[np.ndarray, "N 3"],
  video: UInt8[np.ndarray, "T H W 3"],
) -> None:
  """Writes the file of a film, whole or not at all.

  Args:
    path: of the file; its folder must exist.
    tracks: of its points.
    intrinsics: (fx, fy, cx, cy) in pixels.
    queries: x, y in pixels and the frame of each point.
    video: the film.
  """
  jpegs = [pictures.jpeg(picture, _JPEG_QUALITY) for picture in video]
  with whole_files.replaced(path) as name, open(name, "wb") as stream:
    np.savez_compressed(
      stream,
      tracks_XYZ=tracks.positions.astype(np.float32),
      visibility=tracks.visible,
      fx_fy_cx_cy=np.asarray(intrinsics, np.float32),
      queries_xyt=queries.astype(np.float32),
      images_jpeg_bytes=np.array(jpegs),
    )


def read_tracks(path: str | os.PathLike[str]) -> Tracks:
  """The tracks of a film or of a prediction.

  Raises:
    UserError: missing or damaged file, or arrays of wrong shapes.
  """
  return _tracks(_arrays(path, _TRACKS), path)


def read_film(path: str | os.PathLike[str]) -> Film:
  """A film with its tracks.

  Raises:
    UserError: missing or damaged file, or arrays of wrong shapes.
  """
  arrays = _arrays(path, (*_TRACKS, *_FILM))
  intrinsics, jpegs = arrays["fx_fy_cx_cy"], arrays["images_jpeg_bytes"]
  if intrinsics.shape != (4,) or not (intrinsics[:2] > 0).all():
    raise errors.UserError(
      f"{path}: expected fx_fy_cx_cy of 4 numbers, focal lengths above 0, "
      f"found {intrinsics.tolist()}"
    )
  try:
    width, height = PIL.Image.open(io.BytesIO(bytes(jpegs[0]))).size
  except (OSError, IndexError, TypeError) as error:
    raise errors.UserError(
      f"{path}: expected a JPEG file for each frame in images_jpeg_bytes; the "
      f"first cannot be read ({error})"
    ) from error
  tracks = _tracks(arrays, path)
  return Film(tracks, intrinsics.astype(np.float64), (height, width))


def pixel_queries(
  pixels: Sequence[int] | np.ndarray, width: int
) -> Float[np.ndarray, "N 3"]:
  """Queries of pixels of the first frame, counted by rows."""
  rows, columns = np.divmod(np.asarray(pixels), width)
  return np.stack(
    [columns + 0.5, rows + 0.5, np.zeros(len(rows))], axis=-1
  ).astype(np.float32)


def _arrays(
  path: str | os.PathLike[str], names: Sequence[str]
) -> dict[str, np.ndarray]:
  if not os.path.isfile(path):
    raise errors.UserError(
      f"{path}: no such file; expected tracks in TAPVid-3D's layout"
    )
  try:
    found = array_files.read_npz(path, names)
  except array_files.DAMAGE as error:
    raise errors.UserError(
      f"{path}: expected an .npz file of plain arrays in TAPVid-3D's layout; "
      f"it is damaged or of another kind ({error})"
    ) from error
  missing = [name for name in names if name not in found]
  if missing:
    raise errors.UserError(
      f"{path}: expected arrays {', '.join(names)}, found none of the name "
      f"{', '.join(missing)}: it is not of TAPVid-3D's layout"
    )
  return found


def _tracks(
  arrays: dict[str, np.ndarray], path: str | os.PathLike[str]
) -> Tracks:
  positions, visible = arrays["tracks_XYZ"], arrays["visibility"]
  good = positions.ndim == 3 and positions.shape[2] == 3 and positions.size
  if not good or visible.shape != positions.shape[:2]:
    raise errors.UserError(
      f"{path}: expected tracks_XYZ [T N 3] and visibility [T N], found "
      f"{positions.shape} and {visible.shape}"
    )
  if positions.dtype.kind != "f" or visible.dtype.kind not in "biu":
    raise errors.UserError(
      f"{path}: expected numbers in tracks_XYZ and visibility, found "
      f"{positions.dtype} and {visible.dtype}"
    )
  return Tracks(positions, visible.astype(bool))
