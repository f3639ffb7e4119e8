"""Depth and trajectories with the errors of networks that estimate them.

Records hold exact depth; sampling sees what a depth network says. Its errors
are those of a whole picture (scale, and shift of inverse depth), smooth bends
of surfaces, soft outlines and grain. Points on a soft outline fly between two
surfaces. Trajectories err in the size of a motion and drift smoothly.

`fit_depth` and `fit_motion` measure the sizes of these errors on estimates
beside the truth; `benchmarks/estimation_errors.py` prints them for a
checkpoint. The defaults of depth have the absolute relative error of the recipe
tiny's network on unseen scenes, 0.17 (docs/evaluation.md); how they share it is
chosen by hand, as is the motion's.
"""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

_BEND_LENGTH = 0.08  # Of the width; sigma of what makes a bend smooth.
_FIELD_WIDTH = 64  # Columns of the grid that smooth fields are drawn on.
_SOFTEST = 0.05  # Of the width; blurs beyond this are not looked for.
_BLURS = 11  # Candidates from 0 to _SOFTEST.
_LEAST = 0.05  # Of a pixel's inverse depth; what a shift leaves of it.


@dataclasses.dataclass(frozen=True)
class DepthNoise:
  """Sizes of the errors of estimated depth.

  Attributes:
    scale: deviation of the logarithm of a picture's scale.
    shift: deviation of a picture's shift of inverse depth, in inverse medians.
    bend: deviation of the logarithm of depth by smooth bends.
    softness: mean sigma of the blur of outlines, as a share of the width.
    grain: deviation of the logarithm of depth, from pixel to pixel.
  """

  scale: float = 0.13
  shift: float = 0.1
  bend: float = 0.06
  softness: float = 0.015
  grain: float = 0.01

  def times(self, level: float) -> "DepthNoise":
    """Errors that are so many times as large."""
    sizes = dataclasses.asdict(self).items()
    return DepthNoise(**{name: level * size for name, size in sizes})

  def draw(
    self, depth: Float[np.ndarray, "H W"], rng: np.random.Generator
  ) -> Float[np.ndarray, "H W"]:
    """Depth as an estimate would have it; what is invalid stays as it is.

    Args:
      depth: metres; NaN, infinite or at most 0 where unknown.
      rng: of all choices.
    """
    known = np.isfinite(depth) & (depth > 0)
    scale, shift = self.scale * rng.normal(), self.shift * rng.normal()
    sigma = self.softness * depth.shape[1] * rng.uniform(0, 2)
    bend = self.bend * smooth_field(depth.shape, rng)
    grain = self.grain * rng.normal(size=depth.shape)
    if not known.any():
      return depth
    inverse = _soften(_inverse(depth, known), known, sigma)
    moved = inverse + shift * np.median(inverse[known])
    inverse = np.maximum(moved, _LEAST * inverse)
    with np.errstate(divide="ignore", over="ignore"):
      found = np.exp(scale + bend + grain) / inverse
    return np.where(known, found, depth).astype(np.float32)


@dataclasses.dataclass(frozen=True)
class MotionNoise:
  """Sizes of the errors of sampled trajectories.

  Attributes:
    gain: deviation of the logarithm of a motion's size.
    drift: deviation of the last frame's points, as a share of their depth.
  """

  gain: float = 0.3
  drift: float = 0.01

  def draw(
    self, tracks: Float[np.ndarray, "T H W 3"], rng: np.random.Generator
  ) -> Float[np.ndarray, "T H W 3"]:
    """Trajectories as a sampler would have them, from the same first frame.

    Args:
      tracks: metres; NaN where a point is unknown.
      rng: of all choices.
    """
    gain = np.exp(self.gain * rng.normal())
    size = tracks.shape[1:3]
    drift = np.stack([smooth_field(size, rng) for _ in range(3)], axis=-1)
    along = np.linspace(0, 1, len(tracks))[:, None, None, None]
    drift = self.drift * drift * tracks[0, ..., 2:]
    moved = tracks[0] + gain * (tracks - tracks[0]) + along * drift
    return moved.astype(np.float32)


def on_depth(
  tracks: Float[np.ndarray, "T H W 3"], depth: Float[np.ndarray, "H W"]
) -> Float[np.ndarray, "T H W 3"]:
  """Trajectories whose first points lie at another depth on their rays.

  Motion grows with depth, as that of a network does, which gives it as a share
  of depth.

  Args:
    tracks: metres, in the first camera's frame.
    depth: of the first frame in metres; unknown where `tracks` is, too.
  """
  first = tracks[0, ..., 2]
  usable = np.isfinite(first) & (first > 0) & np.isfinite(depth) & (depth > 0)
  ratio = np.where(usable, depth / np.where(usable, first, 1), np.nan)
  return (tracks * ratio[..., None]).astype(np.float32)


def smooth_field(
  size: tuple[int, int], rng: np.random.Generator
) -> Float[np.ndarray, "H W"]:
  """Random values of mean 0 and deviation 1 that change slowly over a picture.

  They are normal over many fields; the mean of one field is 0.
  """
  # On a coarse grid, which is fine enough for what is so smooth.
  step = max(1, size[1] // _FIELD_WIDTH)
  coarse = [-(-n // step) + 1 for n in size]
  sigma = 2 * _BEND_LENGTH * size[1] / step
  margin = int(np.ceil(3 * sigma))
  wide = rng.normal(size=[n + 2 * margin for n in coarse])
  field = ndimage.gaussian_filter(wide, sigma)
  inside = slice(margin, -margin) if margin else slice(None)
  places = np.indices(size) / step
  field = ndimage.map_coordinates(field[inside, inside], places, order=1)
  field = field - field.mean()
  return field / max(field.std(), 1e-9)


def fit_depth(
  estimated: Float[np.ndarray, "B H W"], true: Float[np.ndarray, "B H W"]
) -> DepthNoise:
  """Sizes of the errors of estimates, from at least one picture.

  Args:
    estimated: metres.
    true: metres; pixels where either is no positive number are left out.
  """
  rows = []
  for one, other in zip(estimated, true, strict=True):
    known = np.isfinite(one) & (one > 0) & np.isfinite(other) & (other > 0)
    if known.any():
      rows.append(_picture_errors(one, other, known))
  scale, shift, bend, softness, grain = np.asarray(rows).T
  return DepthNoise(
    scale=_size(scale),
    shift=_size(shift),
    bend=_size(bend),
    softness=float(np.mean(softness)),
    grain=_size(grain),
  )


def fit_motion(
  sampled: Float[np.ndarray, "B T H W 3"], true: Float[np.ndarray, "B T H W 3"]
) -> MotionNoise:
  """Sizes of the errors of trajectories from the same first frame.

  Pictures in which nothing moves tell the drift only.

  Args:
    sampled: metres.
    true: metres; points that either does not know are left out.
  """
  gains, drifts = [], []
  for one, other in zip(sampled, true, strict=True):
    depth = other[0, ..., 2:]
    found, wanted = ((v[-1] - v[0]) / depth for v in (one, other))
    known = np.isfinite(found).all(-1) & np.isfinite(wanted).all(-1)
    found, wanted = found[known], wanted[known]
    moved = np.sum(wanted**2)
    gain = 1.0
    if moved > 1e-4 * known.sum():  # A hundredth of the depth on the mean.
      gain = max(np.sum(found * wanted) / moved, 0.05)
      gains.append(np.log(gain))
    drifts.append(np.sqrt(np.mean((found - gain * wanted) ** 2)))
  return MotionNoise(gain=_size(gains), drift=_size(drifts))


def _size(values) -> float:
  """Root of the mean square; 0 of nothing."""
  return float(np.sqrt(np.mean(np.square(values)))) if len(values) else 0.0


def _picture_errors(estimated, true, known):
  """(log scale, shift, bend, softness, grain) of one picture."""
  width = true.shape[1]
  seen, truth = _inverse(estimated, known), _inverse(true, known)
  median = np.median(truth[known])
  blurs = np.linspace(0, _SOFTEST, _BLURS)
  fits = []
  for blur in blurs:
    soft = _soften(truth, known, blur * width)
    # seen = (soft + shift median) / scale, weighed as relative errors.
    weight = 1 / soft[known]
    basis = np.stack([soft[known], np.full(known.sum(), median)], -1)
    (factor, offset), *_ = np.linalg.lstsq(
      basis * weight[:, None], seen[known] * weight, rcond=None
    )
    factor = max(factor, 1e-3)
    model = np.maximum(factor * soft + offset * median, _LEAST * factor * soft)
    rest = np.where(known, np.log(np.where(known, model / seen, 1)), 0)
    fits.append((np.std(rest[known]), factor, offset, rest))
  best = int(np.argmin([fit[0] for fit in fits]))
  _, factor, offset, rest = fits[best]
  smooth = _blur(rest, known, _BEND_LENGTH * width / 2)
  grain = (rest - smooth)[known]
  # Outlines err most: the median tells of surfaces.
  spread = np.median(np.abs(grain)) / 0.6745
  bend = np.std(smooth[known])
  return -np.log(factor), offset / factor, bend, blurs[best], spread


def _inverse(depth, known):
  return np.where(known, 1 / np.where(known, depth, 1), 0.0)


def _soften(
  inverse: Float[np.ndarray, "H W"],
  known: Bool[np.ndarray, "H W"],
  sigma: float,
) -> Float[np.ndarray, "H W"]:
  """Inverse depth with soft outlines; 0 where it is unknown."""
  return inverse if sigma <= 0 else _blur(inverse, known, sigma)


def _blur(values, known, sigma):
  """A blur to which unknown values do not contribute."""
  share = ndimage.gaussian_filter(known.astype(float), sigma, mode="nearest")
  summed = ndimage.gaussian_filter(
    np.where(known, values, 0.0), sigma, mode="nearest"
  )
  return np.where(known, summed / np.maximum(share, 1e-9), 0.0)
