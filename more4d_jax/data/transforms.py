"""Records to training examples: pure functions, one per task.

Each takes an item of a record source (`EncodedRecord` or `Record`), decodes
only the fields it needs, and returns a dict of arrays without batch axis.
With a random generator it may choose clip, window, mirror image and caption
dropout as the options say; without one it takes the first frames and the
middle window, and changes nothing.

Sparse records follow a few chosen points, between which nothing is known about
the motion: the functions that need tracks refuse them, those of video and
depth take them.
"""

import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import grain
import numpy as np
from jaxtyping import Bool, Float32, UInt8

from more4d_jax import errors
from more4d_jax.data import framing as framing_lib
from more4d_jax.data import records, schema

Item = records.EncodedRecord | records.Record


@dataclasses.dataclass(frozen=True)
class ExampleOptions:
  """What an example looks like.

  Attributes:
    frames: 4k + 1 frames; None takes all the record has.
    height: of the grid; None keeps the record's.
    width: of the grid; None keeps the record's.
    stride: distance of the clip's frames in the record.
    random_clip: a video clip starts at a random frame. Tracks start at frame 0,
      the frame whose pixels they follow.
    random_crop: the window lies at a random place instead of in the middle.
    mirror_rate: share of examples with left and right exchanged, captions too.
    caption_dropout: share of examples whose caption becomes empty.
  """

  frames: int | None = None
  height: int | None = None
  width: int | None = None
  stride: int = 1
  random_clip: bool = False
  random_crop: bool = False
  mirror_rate: float = 0.0
  caption_dropout: float = 0.0


@dataclasses.dataclass(frozen=True)
class RandomExample(grain.transforms.RandomMap):
  """An example function as a random transform for `loader.make_loader`."""

  function: Callable[..., dict[str, Any]]
  options: ExampleOptions | None = None

  def random_map(self, item: Item, rng: np.random.Generator) -> dict[str, Any]:
    """The example of an item under this generator's choices."""
    return self.function(item, self.options, rng)


def motion_example(
  item: Item,
  options: ExampleOptions | None = None,
  rng: np.random.Generator | None = None,
) -> dict[str, np.ndarray]:
  """`tracks` [T H W 3] float32, `intrinsics` [4] float32.

  Raises:
    UserError: the record is sparse.
  """
  options = options or ExampleOptions()
  clip = _choose(item, options, rng)
  fields = _decode_dense(item, ("tracks", "intrinsics"), clip.frames)
  return _motion(fields, clip.framing)


def scene_example(
  item: Item,
  options: ExampleOptions | None = None,
  rng: np.random.Generator | None = None,
) -> dict[str, Any]:
  """The conditions of STraG and what it predicts.

  Returns: `tracks`, `intrinsics` as `motion_example`, `visible` [T H W] bool,
    `image` [H W 3] uint8 and `depth` [H W] float32 of the first frame,
    `segmentation` [H W] uint8, `caption` str. Without segmentation of the
    picture, what moves more than 1 % of its first depth is object 1.

  Raises:
    UserError: the record is sparse.
  """
  options = options or ExampleOptions()
  clip = _choose(item, options, rng)
  fields = _decode_dense(item, _SCENE, clip.frames)
  return _scene(fields, clip, options, rng)


def view_example(
  item: Item,
  options: ExampleOptions | None = None,
  rng: np.random.Generator | None = None,
  *,
  view: int | None = None,
) -> dict[str, Any]:
  """What ViSM learns from: a scene and its true film by another camera.

  Returns: as `scene_example`, and `target_video` [T H W 3] uint8 with its
    `target_world_from_camera` [T 4 4] float32; the view of this number. When
    that is left out, the first one, or with a generator any.

  Raises:
    UserError: the record is sparse or has no views.
  """
  options = options or ExampleOptions()
  clip = _choose(item, options, rng)
  frames, framing = clip.frames, clip.framing
  fields = _decode_dense(item, (*_SCENE, "views"), frames)
  if not fields["views"]:
    raise errors.UserError(
      f"{name_of(item)} has no views from other cameras; make the records with "
      f"--views 1 or more"
    )
  if view is None:
    view = 0 if rng is None else int(rng.integers(len(fields["views"])))
  chosen = fields["views"][view]
  poses = framing_lib.frame_poses(chosen.world_from_camera, framing)
  return {
    **_scene(fields, clip, options, rng),
    "target_video": framing_lib.frame_video(chosen.video[frames], framing),
    "target_world_from_camera": poses[frames],
  }


def video_example(
  item: Item,
  options: ExampleOptions | None = None,
  rng: np.random.Generator | None = None,
) -> dict[str, np.ndarray]:
  """`video` [T H W 3] uint8 and `depth` [T H W] float32.

  A light record serves clips of one frame.

  Raises:
    UserError: the record is light or shorter than the clip.
  """
  options = options or ExampleOptions()
  fields = item.decode(("video", "depth", "frame_indices"))
  video, depth = fields["video"], fields["depth"]
  light = len(video) < len(fields["frame_indices"])
  if light and options.frames != 1:
    raise errors.UserError(
      f"{name_of(item)} is light, it has one frame of video; make full records "
      f"(without --light)"
    )
  framing = _framing(video.shape[1:3], options, rng)
  frames = _frames(len(video), options, rng if options.random_clip else None)
  return {
    "video": framing_lib.frame_video(video[frames], framing),
    "depth": framing_lib.frame_map(depth[frames], framing),
  }


def depth_example(
  item: Item,
  options: ExampleOptions | None = None,
  rng: np.random.Generator | None = None,
) -> dict[str, np.ndarray]:
  """`image` [H W 3] uint8 and its `depth` [H W] float32.

  The first frame; any frame with a generator and `random_clip`.
  """
  options = options or ExampleOptions()
  number = 0
  if rng is not None and options.random_clip:
    fields = item.decode(("video", "depth"))
    video, depth = fields["video"], fields["depth"]
    number = int(rng.integers(len(video)))
  else:
    fields = item.decode(("first_frame", "first_depth"))
    video, depth = fields["first_frame"][None], fields["first_depth"][None]
  framing = _framing(video.shape[1:3], options, rng)
  chosen = slice(number, number + 1)
  return {
    "image": framing_lib.frame_video(video[chosen], framing)[0],
    "depth": framing_lib.frame_map(depth[chosen], framing)[0],
  }


def clip_frames(
  available: int,
  frames: int,
  stride: int = 1,
  rng: np.random.Generator | None = None,
) -> np.ndarray:
  """Numbers of the frames of a clip; it starts at 0, or anywhere with `rng`.

  Raises:
    UserError: not 4k + 1 frames, or more than there are.
  """
  if frames < 1 or frames % 4 != 1 or stride < 1:
    raise errors.UserError(
      f"a clip has {frames} frames and stride {stride}; expected 4k + 1 frames "
      f"(1, 5, 9, ...) and a stride of at least 1"
    )
  span = (frames - 1) * stride + 1
  if span > available:
    raise errors.UserError(
      f"a clip of {frames} frames with stride {stride} needs {span} frames, "
      f"the records have {available}; choose fewer or make longer records"
    )
  start = 0 if rng is None else int(rng.integers(available - span + 1))
  return np.arange(start, start + span, stride)


def drop_caption(caption: str, rate: float, rng: np.random.Generator) -> str:
  """The caption, or an empty one in a share `rate` of the draws."""
  return "" if rng.random() < rate else caption


def flip_caption(caption: str) -> str:
  """The caption of the mirror image: left and right change places."""

  def other(match: re.Match[str]) -> str:
    word = match.group(0)
    swapped = _OTHER_SIDE[word.lower()]
    return swapped.capitalize() if word[0].isupper() else swapped

  return _SIDES.sub(other, caption)


def name_of(item: Any) -> str:
  """What to call a record, or an item of one, in messages."""
  record = getattr(item, "record", item)
  return getattr(record, "where", None) or f"record {record.id}"


_MOVING = 0.01  # Of the first depth; trackers' noise lies below.
_SCENE = (
  "tracks",
  "intrinsics",
  "visible",
  "first_frame",
  "first_depth",
  "segmentation",
  "caption",
)
_OTHER_SIDE = {
  first + ending: second + ending
  for first, second in (("left", "right"), ("right", "left"))
  for ending in ("", "ward", "wards", "most")
} | {"clockwise": "counterclockwise", "counterclockwise": "clockwise"}
_SIDES = re.compile(rf"\b({'|'.join(_OTHER_SIDE)})\b", re.IGNORECASE)


class _Clip(NamedTuple):
  """The part of a record that becomes an example."""

  frames: np.ndarray
  framing: framing_lib.Framing


def _choose(
  item: Item, options: ExampleOptions, rng: np.random.Generator | None
) -> _Clip:
  """A clip with tracks, which begins at frame 0."""
  frames, *size = item.shape
  return _Clip(_frames(frames, options), _framing(tuple(size), options, rng))


def _decode_dense(
  item: Item, wanted: tuple[str, ...], frames: np.ndarray
) -> dict[str, Any]:
  fields = item.decode(wanted, frames)
  if fields["tracks"] is None:
    raise errors.UserError(
      f"{name_of(item)} is sparse, it follows chosen points and not every "
      "pixel; this task needs dense tracks: take such records out of "
      "data.records"
    )
  return fields


def _known_segments(
  segmentation: UInt8[np.ndarray, "H W"],
  tracks: Float32[np.ndarray, "T H W 3"],
) -> UInt8[np.ndarray, "H W"]:
  """The segmentation; where it is unknown, 1 for what moves."""
  unknown = segmentation == schema.UNKNOWN_SEGMENT
  if not unknown.any():
    return segmentation
  moving = moving_pixels(tracks)
  return np.where(unknown, moving, segmentation).astype(np.uint8)


def moving_pixels(
  tracks: Float32[np.ndarray, "T H W 3"],
) -> Bool[np.ndarray, "H W"]:
  """Pixels whose point ever leaves its place by 1 % of its depth."""
  farthest = np.linalg.norm(tracks - tracks[0], axis=-1).max(axis=0)
  return farthest > _MOVING * tracks[0, :, :, 2]  # False where NaN.


def _framing(
  source: tuple[int, int],
  options: ExampleOptions,
  rng: np.random.Generator | None,
) -> framing_lib.Framing:
  size = (options.height or source[0], options.width or source[1])
  if rng is None:
    return framing_lib.plan(source, size)
  mirror = bool(rng.random() < options.mirror_rate)
  offsets = tuple(rng.random(2)) if options.random_crop else (0.5, 0.5)
  return framing_lib.plan(source, size, offsets=offsets, mirror=mirror)


def _frames(
  available: int,
  options: ExampleOptions,
  rng: np.random.Generator | None = None,
) -> np.ndarray:
  longest = (available - 1) // options.stride + 1
  frames = options.frames or longest - (longest - 1) % 4
  return clip_frames(available, frames, options.stride, rng)


def _motion(
  fields: Mapping[str, Any], framing: framing_lib.Framing
) -> dict[str, np.ndarray]:
  tracks, intrinsics = fields["tracks"], fields["intrinsics"]
  return {
    "tracks": framing_lib.frame_tracks(tracks, intrinsics, framing),
    "intrinsics": framing_lib.frame_intrinsics(intrinsics, framing),
  }


def _scene(
  fields: Mapping[str, Any],
  clip: _Clip,
  options: ExampleOptions,
  rng: np.random.Generator | None,
) -> dict[str, Any]:
  framing = clip.framing
  caption = fields["caption"]
  if framing.mirror:
    caption = flip_caption(caption)
  if rng is not None:
    caption = drop_caption(caption, options.caption_dropout, rng)
  kinds = _known_segments(fields["segmentation"], fields["tracks"])
  visible = fields["visible"][clip.frames]
  return {
    **_motion(fields, framing),
    "visible": framing_lib.frame_map(visible, framing),
    "image": framing_lib.frame_video(fields["first_frame"][None], framing)[0],
    "depth": framing_lib.frame_map(fields["first_depth"][None], framing)[0],
    "segmentation": framing_lib.frame_map(kinds[None], framing)[0],
    "caption": caption,
  }
