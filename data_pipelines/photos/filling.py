"""What stands behind a thing that was cut out of a picture."""

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage


def smooth(
  values: Float[np.ndarray, "h w c"], known: Bool[np.ndarray, "h w"]
) -> Float[np.ndarray, "h w c"]:
  """Fills unknown places from coarser and coarser means of known ones.

  Known places keep their values; there must be one.
  """
  if known.all():
    return values
  height, width = known.shape
  pad = ((0, height % 2), (0, width % 2))
  weight = np.pad(known.astype(np.float64), pad)
  total = np.pad(values * known[..., None], (*pad, (0, 0)))
  rows, columns = weight.shape[0] // 2, weight.shape[1] // 2
  blocks = (rows, 2, columns, 2)
  weight = weight.reshape(blocks).sum((1, 3))
  total = total.reshape(*blocks, -1).sum((1, 3))
  mean = total / np.maximum(weight, 1e-9)[..., None]
  coarse = smooth(mean, weight > 0)
  fine = _enlarged(coarse)[:height, :width]
  return np.where(known[..., None], values, fine)


def _enlarged(values: np.ndarray) -> np.ndarray:
  """Twice as many rows and columns, linear in between."""
  for axis in (0, 1):
    before = np.roll(values, 1, axis)
    after = np.roll(values, -1, axis)
    edge = [slice(None)] * 3
    edge[axis] = 0
    before[tuple(edge)] = values[tuple(edge)]
    edge[axis] = -1
    after[tuple(edge)] = values[tuple(edge)]
    pair = np.stack(
      [0.75 * values + 0.25 * before, 0.75 * values + 0.25 * after], axis + 1
    )
    shape = list(values.shape)
    shape[axis] *= 2
    values = pair.reshape(shape)
  return values


def textured(
  colours: Float[np.ndarray, "h w 3"], known: Bool[np.ndarray, "h w"]
) -> Float[np.ndarray, "h w 3"]:
  """Fills unknown places with the texture that lies around them.

  A place gets the colour of the place mirrored in the nearest known one, plus
  what makes its coarse colour that of the smooth filling; where the mirror
  image is unknown too, the smooth filling alone.
  """
  if known.all():
    return colours
  flat = smooth(colours, known)
  nearest = ndimage.distance_transform_edt(
    ~known, return_distances=False, return_indices=True
  )
  here = np.indices(known.shape)
  limit = np.array(known.shape)[:, None, None] - 1
  mirrored = np.clip(2 * nearest - here, 0, limit)
  usable = known[tuple(mirrored)]
  blurred = ndimage.gaussian_filter(flat, (4, 4, 0))
  detail = (flat - blurred)[tuple(mirrored)]
  made = flat + np.where(usable[..., None], detail, 0)
  return np.where(known[..., None], colours, np.clip(made, 0, 255))
