"""A scene as one page for browsers: the points, the photograph, a player.

The page needs neither network nor server. It holds the photograph as PNG, which
gives the points their colours, and the points, compressed by zlib, as base64.

Point p at frame t lies at z_p (r_p + s 2^e_p n_pt): z_p is its depth at frame 0
in 16 bits of the logarithm, r_p the ray of its pixel, s a fraction of a pixel
over the focal length, e_p a number of bits that keeps the whole numbers n_pt
within 16. Points that hardly move are kept for frame 0 alone. Of the others
n_pt - n_p0 is kept as changes in time, then from each point to the next.
"""

import base64
import dataclasses
import html
import io
import itertools
import json
import os
import pathlib
import re
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import PIL.Image
from jaxtyping import Bool, Float, Int, Integer

from more4d_jax import errors, whole_files
from more4d_jax.viewing import clouds

MAX_BYTES = 25_000_000
_MAX_POSITIONS = 16_000_000  # Frames times points, 8 bytes each of a GPU.
_FRACTION = 8  # Steps in a pixel.
_STILL = 0.25  # Pixels; points that stay nearer to their first place rest.
_LARGEST = 2**15 - 1
_SLOPE_STEPS = 16  # Of 8 bits, to 7.9.
_GROWTH_STEPS = 16  # Of 8 bits, to 15.9.
_WEB = pathlib.Path(__file__).parent / "web"
_SCRIPTS = ("points.js", "drawing.js", "camera.js", "page.js")


@dataclasses.dataclass(frozen=True)
class Packed:
  """Points as the page holds them.

  Attributes:
    layout: what is needed to unpack them; JSON values.
    data: zlib-compressed sections, in the order of `_sections`.
  """

  layout: dict[str, Any]
  data: bytes


def write(
  path: str | os.PathLike,
  scene: clouds.SceneLike,
  cloud: clouds.Cloud | None = None,
  *,
  title: str = "4D scene",
  max_bytes: int = MAX_BYTES,
) -> clouds.Cloud:
  """Writes the page.

  Args:
    path: the file; its folder must exist.
    scene: its metadata is written into the page as `#more4d-metadata`,
      together with how many of its points the page shows.
    cloud: points of the scene; all of them unless given.
    title: of the page.
    max_bytes: bound on the file; points are left out to keep it.

  Returns:
    The points that the page shows.

  Raises:
    UserError: the folder does not exist, the scene has no usable point, or
      the bound is too small for the page and its photograph.
  """
  path = os.path.abspath(os.fspath(path))
  folder = os.path.dirname(path)
  if not os.path.isdir(folder):
    raise errors.UserError(
      f"{folder}: no such folder to write a page to; create it first"
    )
  page, cloud = _text(scene, cloud, title, max_bytes)
  with whole_files.replaced(path) as name:
    pathlib.Path(name).write_text(page, encoding="utf-8")
  return cloud


@dataclasses.dataclass(frozen=True)
class Inline:
  """A scene that notebooks show where it is the value of a cell.

  Attributes:
    scene: to show.
    height: of the player in the notebook, pixels.
    max_bytes: bound on what the notebook's output grows by.
  """

  scene: clouds.SceneLike
  height: int = 560
  max_bytes: int = MAX_BYTES

  def _repr_html_(self) -> str:
    page, _ = _text(self.scene, None, "4D scene", self.max_bytes)
    return (
      f'<iframe srcdoc="{html.escape(page)}" width="100%" '
      f'height="{self.height}" style="border: 0" sandbox="allow-scripts" '
      'allow="fullscreen"></iframe>'
    )


def _text(
  scene: clouds.SceneLike,
  cloud: clouds.Cloud | None,
  title: str,
  max_bytes: int,
) -> tuple[str, clouds.Cloud]:
  """The page, and the points in it; see `write`."""
  cloud = cloud or clouds.from_scene(scene)
  frame = _frame(scene, title)
  room = (max_bytes - len("".join(frame.values())) - 2**16) * 3 // 4
  cloud, packed = _fitted(cloud, scene.fps, room)
  frame |= {
    "metadata": _json(scene.metadata | {"page": cloud.summary()}),
    "layout": _json(packed.layout),
    "points": base64.b64encode(packed.data).decode(),
  }
  template = (_WEB / "page.html").read_text("utf-8")
  page = re.sub(r"\{(\w+)\}", lambda found: frame[found[1]], template)
  return page, cloud


def pack(cloud: clouds.Cloud, fps: float) -> Packed:
  """Packs points; see the head of this file."""
  focal = float(np.sqrt(cloud.intrinsics[0] * cloud.intrinsics[1]))
  step = 1 / (_FRACTION * focal)
  log_depth = np.log(cloud.positions[0, :, 2].astype(np.float64))
  near = float(log_depth.min())
  log_step = max(float(log_depth.max()) - near, 1e-6) / (2**16 - 1)
  levels = np.rint((log_depth - near) / log_step)
  depth = np.exp(near + log_step * levels).astype(np.float32)
  shift, steps = _quantised(cloud, depth, step)
  moving = (np.abs(steps[1:] - steps[:1]) > _STILL * _FRACTION).any((0, 2))
  sections = _sections(cloud, shift, levels, steps, moving)
  layout = {
    "width": cloud.size[1],
    "height": cloud.size[0],
    "intrinsics": cloud.intrinsics.tolist(),
    "fps": float(fps),
    "frames": len(steps),
    "points": len(depth),
    "still": int((~moving).sum()),
    "step": step,
    "log_near": near,
    "log_step": log_step,
    "near": float(depth.min()),
    "centre": cloud.centre.tolist(),
  }
  packer = zlib.compressobj(6)
  data = b"".join([*map(packer.compress, sections), packer.flush()])
  return Packed(layout, data)


def _quantised(
  cloud: clouds.Cloud, depth: Float[np.ndarray, "P"], step: float
) -> tuple[Int[np.ndarray, "P"], Int[np.ndarray, "T P 3"]]:
  """e_p, and n_pt: places from the pixel's ray at a depth, in steps."""
  fx, fy, cx, cy = cloud.intrinsics
  rows, columns = np.divmod(cloud.pixels, cloud.size[1])
  ray = np.stack(
    [
      (columns + np.float32(0.5) - cx) / fx,
      (rows + np.float32(0.5) - cy) / fy,
      np.ones(len(rows)),
    ],
    axis=-1,
  ).astype(np.float32)
  offsets = cloud.positions / depth[:, None]
  offsets -= ray
  offsets *= np.float32(1 / step)
  # Half of the range, so that differences of two of them fit too.
  farthest = np.abs(offsets).max((0, 2)) * 2 / _LARGEST
  shift = np.ceil(np.log2(np.maximum(farthest, 1))).astype(int)
  offsets *= np.exp2(-shift).astype(np.float32)[:, None]
  return shift, np.rint(offsets, out=offsets).astype(np.int32)


def _sections(
  cloud: clouds.Cloud,
  shift: Int[np.ndarray, "P"],
  levels: Float[np.ndarray, "P"],
  steps: Int[np.ndarray, "T P 3"],
  moving: Bool[np.ndarray, "P"],
) -> Iterator[bytes]:
  """The bytes of each section, in their order."""
  present = np.zeros(cloud.size, bool)
  present.ravel()[cloud.pixels] = True
  yield np.packbits(present).tobytes()
  yield np.packbits(moving).tobytes()
  growth = np.rint(cloud.growth * _GROWTH_STEPS)
  yield growth.clip(0, 255).astype(np.uint8).tobytes()
  yield shift.clip(0, 255).astype(np.uint8).tobytes()
  slopes = np.rint(cloud.slopes * _SLOPE_STEPS).clip(-127, 127)
  for values in (*slopes.T, levels, *steps[0].T):
    yield _changes(values.astype(np.int64))
  paths = steps[:, moving]
  for before, after in itertools.pairwise(paths):
    for change in (after - before).T:
      yield _changes(change)


def _changes(values: Integer[np.ndarray, "P"]) -> bytes:
  """16-bit numbers as changes from one to the next; low bytes, high bytes.

  A change and its negative differ in the last bit only, so that the high bytes
  of small ones are zero.
  """
  change = np.diff(values, prepend=0).astype(np.int16).astype(np.int32)
  code = ((change << 1) ^ (change >> 15)).astype("<u2")
  return np.ascontiguousarray(code.view(np.uint8).reshape(-1, 2).T).tobytes()


def _fitted(
  cloud: clouds.Cloud, fps: float, room: int
) -> tuple[clouds.Cloud, Packed]:
  """As many points as fit, and their bytes."""
  frames, count = cloud.positions.shape[:2]
  thin = clouds.thinned(cloud, max(1, min(count, _MAX_POSITIONS // frames)))
  while True:
    packed = pack(thin, fps)
    size, count = len(packed.data), len(thin.pixels)
    if size <= room:
      return thin, packed
    if count == 1:
      raise errors.UserError(
        f"expected a page of at most {room / 1e6:.1f} MB beside its "
        "photograph, found no point that fits; allow a larger one"
      )
    thin = clouds.thinned(cloud, max(1, int(0.97 * count * room / size)))


def _frame(scene: clouds.SceneLike, title: str) -> dict[str, str]:
  """What of the page is no point of the scene."""
  photograph = io.BytesIO()
  PIL.Image.fromarray(scene.colours).save(photograph, "png", optimize=True)
  return {
    "title": html.escape(title),
    "style": (_WEB / "page.css").read_text("utf-8"),
    "script": "\n".join((_WEB / s).read_text("utf-8") for s in _SCRIPTS),
    "photograph": base64.b64encode(photograph.getvalue()).decode(),
  }


def _json(values: dict[str, Any]) -> str:
  """JSON for a script element; what JSON lacks, NaN for one, becomes null."""
  plain = json.loads(json.dumps(values), parse_constant=lambda _: None)
  return json.dumps(plain).replace("<", "\\u003c")
