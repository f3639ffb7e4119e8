"""Cuts a photograph into things in front and a background without holes.

A thing is a connected part that is nearer than a level and whose outline is
mostly a jump of depth. Levels are tried from near to far, the parts with the
clearest outlines are taken.
"""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

from data_pipelines.photos import filling

_LEVELS = 16
_AREA = (0.01, 0.6)  # Of the picture, of a thing.
_JUMP = 0.15  # Of the inverse depth, at an outline.
_CLEAR = 0.5  # Of an outline that must be a jump.
_MOST = 3
_BEHIND = 0.9  # Of a thing's inverse depth: the background's at most.


@dataclasses.dataclass(frozen=True)
class Layer:
  """A surface over the whole picture, of which a part is shown.

  Attributes:
    shown: where it is.
    depth: metres along z, also where it is not shown.
    colours: 0 to 255, at twice the resolution.
  """

  shown: Bool[np.ndarray, "h w"]
  depth: Float[np.ndarray, "h w"]
  colours: Float[np.ndarray, "h2 w2 3"]


def cut(
  picture: Float[np.ndarray, "h2 w2 3"], depth: Float[np.ndarray, "h w"]
) -> list[Layer]:
  """Returns the background, then things, the clearest first.

  Args:
    picture: colours of 0 to 255 at twice the resolution of the depth.
    depth: metres, positive and finite everywhere.
  """
  inverse = 1 / depth
  radius = max(2, depth.shape[1] // 64)
  things = [_refined(thing, inverse, radius) for thing in _things(inverse)]
  front = np.zeros(depth.shape, bool)
  found = []
  for thing in things:
    shown = thing & ~front
    if not shown.any():
      continue
    front |= shown
    core = ndimage.binary_erosion(shown, iterations=radius)
    core = core if core.any() else shown
    own = _nearest(inverse, core)
    found.append(Layer(shown, 1 / np.where(core, inverse, own), picture))
  return [_background(picture, inverse, front, radius), *found]


def _background(picture, inverse, front, radius) -> Layer:
  """All that is left, with the places behind things filled."""
  hidden = ndimage.binary_dilation(front, iterations=radius) & bool(front.any())
  known = ~hidden if (~hidden).any() else ~front
  behind = filling.smooth(inverse[..., None], known)[..., 0]
  most = np.where(front, _BEHIND * inverse, np.inf)
  depth = 1 / np.minimum(np.where(known, inverse, behind), most)
  twice = known.repeat(2, 0).repeat(2, 1)
  colours = filling.textured(picture, twice)
  return Layer(np.ones(inverse.shape, bool), depth, colours)


def _nearest(values: np.ndarray, known: np.ndarray) -> np.ndarray:
  places = ndimage.distance_transform_edt(
    ~known, return_distances=False, return_indices=True
  )
  return values[tuple(places)]


def _things(inverse: np.ndarray) -> list[np.ndarray]:
  """Masks of parts with clear outlines that do not overlap."""
  radius = max(2, inverse.shape[1] // 64)
  size = 2 * radius + 1
  nearest = ndimage.maximum_filter(inverse, size)
  farthest = ndimage.minimum_filter(inverse, size)
  jump = 1 - farthest / nearest > _JUMP
  candidates = []
  for level in np.quantile(inverse, np.linspace(0.2, 0.97, _LEVELS)):
    labels, count = ndimage.label(inverse > level)
    areas = ndimage.sum_labels(
      np.ones(labels.shape), labels, np.arange(1, count + 1)
    )
    for number, area in enumerate(areas, 1):
      share = area / inverse.size
      if _AREA[0] <= share <= _AREA[1]:
        part = ndimage.binary_fill_holes(labels == number)
        candidates.append((_clearness(part, jump), share, part))
  candidates.sort(key=lambda found: (-round(found[0], 2), -found[1]))
  chosen: list[np.ndarray] = []
  for clearness, _, part in candidates:
    apart = not any((part & other).any() for other in chosen)
    if clearness >= _CLEAR and apart and len(chosen) < _MOST:
      chosen.append(part)
  return chosen


def _clearness(part: np.ndarray, jump: np.ndarray) -> float:
  """Share of an outline, but for the picture's border, that is a jump."""
  outline = part & ~ndimage.binary_erosion(part, border_value=1)
  return float(jump[outline].mean()) if outline.any() else 0.0


def _refined(part: np.ndarray, inverse: np.ndarray, radius: int) -> np.ndarray:
  """Moves the outline to the middle of the jump of depth."""
  size = 2 * radius + 1
  middle = np.sqrt(
    ndimage.maximum_filter(inverse, size)
    * ndimage.minimum_filter(inverse, size)
  )
  band = ndimage.binary_dilation(part, iterations=radius)
  band &= ~ndimage.binary_erosion(part, iterations=radius, border_value=1)
  refined = np.where(band, inverse > middle, part)
  labels, count = ndimage.label(refined)
  if not count:
    return part
  areas = ndimage.sum_labels(refined, labels, np.arange(1, count + 1))
  return ndimage.binary_fill_holes(labels == 1 + areas.argmax())
