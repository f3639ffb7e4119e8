"""The pickle of a dense tracker (DELTA) and of TrajScene-60K.

Source: docs/method/data.md#tracker-files.

`coords` [T, N, 3] or [1, T, N, 3] float in the camera of each frame, `colors`
[N, 3] or [1, N, 3] in 0..255, `vis` [T, N] or [1, T, N]; NumPy arrays or torch
tensors. Conventions: x right, y down, z forward, the depth's unit (metres
where the depth network is metric); camera poses unknown; grid and camera are
found from the first frame (`ray_grid`).
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from data_pipelines.importers import media, ray_grid
from data_pipelines.importers import scene as scene_lib

# Frames; of longer videos every second frame was tracked
# (docs/method/data.md#dense-trackers).
_LONG_VIDEO = 98
# DELTA's threshold of a probability (docs/method/data.md#dense-trackers).
_SEEN = 0.8
_FEW_WRONG = 0.05  # Of the colours; more is another range, not rounding.
_OTHER_PICTURE = 48.0  # Mean difference of 0..255 between video and colours.


@dataclasses.dataclass(frozen=True)
class Source:
  """What stands beside the pickle.

  Attributes:
    name: of the scene.
    source: data set and place.
    licence: of the content.
    caption: None if it is missing.
    video: largest number of frames -> [F H W 3] uint8 and frames a second;
      None if there is none.
  """

  name: str
  source: str
  licence: str
  caption: str | None
  video: Callable[[int], tuple[np.ndarray, float]] | None
  fps: float


def scene_of(content: Any, source: Source) -> scene_lib.Scene:
  """The scene of a pickle's content.

  Raises:
    Refused: another content, or one that contradicts itself or the video.
  """
  coords, colours, visible, notes = _arrays(content)
  grid, intrinsics = ray_grid.find(coords[0].astype(np.float64))
  picture = colours.reshape(*grid, 3)
  if source.caption is None:
    notes.append("no caption: left empty")
  numbers = np.arange(len(coords))
  frames, fps = None, source.fps
  if source.video is None:
    notes.append("no video: the first frame is made of the file's colours")
  else:
    film, rate = source.video(max(2 * len(coords), _LONG_VIDEO + 1))
    fps = rate or source.fps
    if len(film) > _LONG_VIDEO:
      numbers, film = numbers * 2, film[::2]
    usable = min(len(film), len(coords))
    if usable < len(coords):
      notes.append(
        f"the video has {usable} of the tracks' {len(coords)} frames"
      )
    coords, visible = coords[:usable], visible[:usable]
    numbers, frames = numbers[:usable], scene_lib.held(film[:usable])
    _compare(media.resized(film[:1], grid)[0], picture)
  return scene_lib.Scene(
    name=source.name,
    caption=source.caption or "",
    source=source.source,
    licence=source.licence,
    fps=fps,
    frame_numbers=numbers,
    tracks=coords,
    visible=visible,
    size=grid,
    grid=grid,
    intrinsics=intrinsics,
    axes="camera",
    cameras="estimated",
    frames=frames,
    first_picture=picture,
    notes=tuple(notes),
  )


def _arrays(
  content: Any,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[str]]:
  """Coords [T N 3] float32, colours [N 3] uint8, visible [T N], and notes."""
  if not isinstance(content, Mapping):
    raise scene_lib.Refused(
      f"its pickle holds a {type(content).__name__}; expected a dict with "
      f"coords, colors and vis"
    )
  media.need(content, ("coords", "colors", "vis"), "its pickle")
  arrays = {}
  for name, axes in (("coords", 3), ("colors", 2), ("vis", 2)):
    array = np.asarray(content[name])
    if array.ndim == axes + 1 and len(array) == 1:
      array = array[0]
    if array.ndim == axes + 1 and array.shape[-1] == 1:
      array = array[..., 0]
    if array.ndim != axes or array.dtype.kind not in "fbiu":
      raise scene_lib.Refused(
        f"{name} is {array.dtype} {array.shape}; expected {axes} axes of "
        f"numbers, perhaps with one of length 1 before"
      )
    arrays[name] = array
  frames, count = arrays["coords"].shape[:2]
  wanted = {
    "coords": (frames, count, 3),
    "colors": (count, 3),
    "vis": (frames, count),
  }
  for name, shape in wanted.items():
    if arrays[name].shape != shape:
      raise scene_lib.Refused(
        f"{name} is {arrays[name].shape}; expected {shape} beside coords"
      )
  notes: list[str] = []
  colours = colours_of(arrays["colors"], notes)
  with np.errstate(over="ignore"):  # What overflows is out of range anyway.
    coords = arrays["coords"].astype(np.float32, copy=False)
  return coords, colours, _visible(arrays["vis"]), notes


def _visible(values: np.ndarray) -> np.ndarray:
  """Bools of bools, 0 and 1, or probabilities."""
  low, high = (values.min(), values.max()) if values.size else (0, 1)
  if not (low >= 0 and high <= 1):
    raise scene_lib.Refused(
      f"vis reaches from {low} to {high}; expected 0 to 1 or bools"
    )
  return values > _SEEN if values.dtype.kind == "f" else values.astype(bool)


def colours_of(values: np.ndarray, notes: list[str]) -> np.ndarray:
  """Colours [N 3] uint8; other ranges than 0..255 are noted."""
  values = values.astype(np.float64)
  known = np.isfinite(values)
  values = np.where(known, values, 0)
  if not known.all():
    share = 100 * (~known).mean()
    notes.append(f"{share:.2g} % of the colours are not finite: made black")
  low, high = values.min(initial=0), values.max(initial=0)
  if 0 < high <= 1 and low >= -1:
    span = "0..1" if low >= 0 else "-1..1"
    notes.append(f"colours reach from {low:.3g} to {high:.3g}: taken as {span}")
    values = 255 * (values if low >= 0 else (values + 1) / 2)
  wrong = (values < 0) | (values > 255)
  if wrong.mean() > _FEW_WRONG:
    raise scene_lib.Refused(
      f"colours reach from {low:.3g} to {high:.3g}; expected 0..255 or 0..1"
    )
  if wrong.any():
    share = 100 * wrong.mean()
    notes.append(f"{share:.2g} % of the colours lie outside 0..255: clipped")
  return np.clip(np.round(values), 0, 255).astype(np.uint8)


def _compare(frame: np.ndarray, picture: np.ndarray) -> None:
  """Refuses a video whose first frame is not what was tracked."""
  off = np.abs(frame.astype(np.float32) - picture).mean()
  if off > _OTHER_PICTURE:
    raise scene_lib.Refused(
      f"the video's first frame differs from the tracked colours by "
      f"{off:.0f} of 255: it is another video"
    )
