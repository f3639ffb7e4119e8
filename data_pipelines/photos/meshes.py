"""Surfaces of a picture's pixels, and what rays through pixels meet of them."""

import dataclasses
import functools

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import ndimage

_NEAR = 1e-3
_CHUNK = 1 << 20  # Places that are looked at at once.
_EDGE = 1e-9  # Of a triangle: rays that meet an edge meet both sides of it.


@dataclasses.dataclass(frozen=True)
class Mesh:
  """Triangles between the centres of a picture's pixels.

  Attributes:
    shown: pixels that are part of it; triangles reach half a pixel farther.
  """

  shown: Bool[np.ndarray, "h w"]

  @functools.cached_property
  def triangles(self) -> Int[np.ndarray, "M 3"]:
    """Numbers of pixels, in row order."""
    height, width = self.shown.shape
    used = ndimage.binary_dilation(self.shown, np.ones((3, 3)))
    number = np.arange(height * width).reshape(height, width)
    a, b = number[:-1, :-1].ravel(), number[:-1, 1:].ravel()
    c, d = number[1:, :-1].ravel(), number[1:, 1:].ravel()
    found = np.concatenate([np.stack([a, b, c], 1), np.stack([b, d, c], 1)])
    return found[used.ravel()[found].all(axis=1)]


@dataclasses.dataclass(frozen=True)
class Sight:
  """What each ray meets first.

  Attributes:
    depth: along z; infinite where it meets nothing.
    layer: number of the mesh, -1 for none.
    place: x, y in the picture that the meshes are made of.
  """

  depth: Float[np.ndarray, "h w"]
  layer: Int[np.ndarray, "h w"]
  place: Float[np.ndarray, "h w 2"]


def look(
  meshes: list[Mesh],
  points: list[Float[np.ndarray, "N 3"]],
  intrinsics: Float[np.ndarray, "4"],
  size: tuple[int, int],
) -> Sight:
  """Casts a ray through the centre of every pixel.

  Args:
    meshes: all of one picture's size.
    points: of each mesh, the positions of its pixels in camera coordinates.
    intrinsics: (fx, fy, cx, cy) in pixels.
    size: height and width of what is seen.
  """
  depth = np.full(size, np.inf)
  layer = np.full(size, -1)
  place = np.zeros((*size, 2))
  for number, (mesh, own) in enumerate(zip(meshes, points)):
    for pixels, z, at in _hits(mesh, own, intrinsics, size):
      # Farther ones first: of several at a pixel the last one stays.
      order = np.argsort(-z, kind="stable")
      order = order[z[order] < depth.ravel()[pixels[order]]]
      depth.ravel()[pixels[order]] = z[order]
      layer.ravel()[pixels[order]] = number
      place.reshape(-1, 2)[pixels[order]] = at[order]
  return Sight(depth, layer, place)


def _hits(mesh, points, intrinsics, size):
  """Yields pixels, depth and place of rays that meet triangles."""
  z = points[:, 2]
  triangles = mesh.triangles
  triangles = triangles[(z[triangles] > _NEAR).all(axis=1)]
  with np.errstate(divide="ignore", invalid="ignore"):
    flat = points[:, :2] / z[:, None] * intrinsics[:2] + intrinsics[2:]
  corners = flat[triangles]  # [M 3 2]
  limit = np.array([size[1], size[0]])
  low = np.ceil(np.clip(corners.min(axis=1) - 0.5, 0, limit)).astype(int)
  high = np.floor(np.clip(corners.max(axis=1) - 0.5, -1, limit - 1)).astype(int)
  extent = (high - low + 1).max(axis=1)
  seen = ((high - low) >= 0).all(axis=1)
  span = 1
  while span < 2 * max(size):
    chosen = np.flatnonzero(seen & (extent <= span) & (2 * extent > span))
    step = max(1, _CHUNK // span**2)
    for start in range(0, len(chosen), step):
      part = chosen[start : start + step]
      yield _inside(
        mesh, triangles[part], (corners[part], low[part], high[part]), z,
        (span, size),
      )  # fmt: skip
    span *= 2


def _inside(mesh, triangles, bounds, z, sizes):
  """Pixels, depth and place where centres lie inside triangles."""
  corners, low, high = bounds
  span, size = sizes
  steps = np.stack(np.meshgrid(np.arange(span), np.arange(span)), -1)
  cells = low[:, None] + steps.reshape(1, -1, 2)  # [M K 2]
  row, cell = np.nonzero((cells <= high[:, None]).all(-1))
  cells = cells[row, cell]
  a, b, c = np.moveaxis(corners[row], 1, 0)
  at = cells + 0.5
  area = _cross(b - a, c - a)
  with np.errstate(divide="ignore", invalid="ignore"):
    weights = np.stack(
      [_cross(b - at, c - at), _cross(c - at, a - at), _cross(a - at, b - at)]
    )
    weights = weights / area
  met = (weights >= -_EDGE).all(axis=0) & (area != 0)
  row, cells, weights = row[met], cells[met], weights[:, met]
  numbers = triangles[row].T  # [3 N]
  shares = weights / z[numbers]  # Linear in space, not in the picture.
  depth = 1 / shares.sum(axis=0)
  width = mesh.shown.shape[1]
  centres = np.stack([numbers % width, numbers // width], -1) + 0.5
  place = (shares[..., None] * centres).sum(0) * depth[:, None]
  column, line = np.floor(place).astype(int).T
  shown = mesh.shown[line, column]
  pixels = cells[:, 1] * size[1] + cells[:, 0]
  return pixels[shown], depth[shown], place[shown]


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
  return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]


def sample(
  colours: Float[np.ndarray, "H W 3"], place: Float[np.ndarray, "N 2"]
) -> Float[np.ndarray, "N 3"]:
  """Colours between pixel centres, linear; at the border the border's."""
  height, width = colours.shape[:2]
  x = np.clip(place[:, 0] - 0.5, 0, width - 1)
  y = np.clip(place[:, 1] - 0.5, 0, height - 1)
  left = np.minimum(x.astype(int), width - 2)
  top = np.minimum(y.astype(int), height - 2)
  across, down = (x - left)[:, None], (y - top)[:, None]
  upper = colours[top, left] * (1 - across) + colours[top, left + 1] * across
  lower = (
    colours[top + 1, left] * (1 - across) + colours[top + 1, left + 1] * across
  )
  return upper * (1 - down) + lower * down
