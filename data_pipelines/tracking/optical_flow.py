"""A baseline tracker: dense optical flow, chained and checked.

Flow between neighbouring frames is added up; where the flow from the first
frame directly to a frame passes the same checks, it takes the sum's place, so
that errors do not pile up and points come back after they were hidden. Learned
trackers are better at fast motion and long occlusions; see `trackers`.

Flow is OpenCV's DIS (Kroeger, Timofte, Dai and Van Gool 2016).
"""

import itertools

import numpy as np
from jaxtyping import Bool, Float, UInt8

from data_pipelines import libraries
from data_pipelines.importers import geometry

# Forward and backward flow agree if their sum is short. Source: Sundaram, Brox
# and Keutzer 2010, equation 5.
_RELATIVE, _ABSOLUTE = 0.01, 0.5
_SAME_GREY = 30  # Of 255: how much a point may change to be found again.
_APART = 3.0  # Pixels between two ways to the same frame that contradict.
_NEIGHBOURS = 1 / 16  # Of the width: what hidden points move along with.


def track(
  video: UInt8[np.ndarray, "T H W 3"],
) -> tuple[Float[np.ndarray, "T H W 2"], Bool[np.ndarray, "T H W"]]:
  """Follows every pixel of the first frame.

  Args:
    video: of one shot.

  Returns:
    Positions (x, y) in pixels, centres at + 0.5, and whether the point is
    seen. Hidden points move along with those around them.

  Raises:
    UserError: if OpenCV is not installed.
  """
  cv2 = libraries.module(
    "cv2", "the tracker 'flow'", "pip install 'more4d_jax[track]'"
  )
  grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in video]
  start = geometry.pixel_grid(*grey[0].shape).astype(np.float32)
  positions, visible = [start], [np.ones(grey[0].shape, bool)]
  for before, now in itertools.pairwise(grey):
    chained, seen = _chained(cv2, before, now, positions[-1], visible[-1])
    found, again = _direct(cv2, grey[0], now, start)
    again &= ~seen | (np.linalg.norm(found - chained, axis=-1) < _APART)
    position = np.where(again[..., None], found, chained)
    seen = (seen | again) & _inside(position)
    steps = position - positions[-1]
    hidden = positions[-1] + _surrounding(cv2, steps, seen)
    positions.append(np.where(seen[..., None], position, hidden))
    visible.append(seen)
  return np.stack(positions), np.stack(visible)


def _flow(
  cv2, first: UInt8[np.ndarray, "H W"], second: UInt8[np.ndarray, "H W"]
) -> tuple[Float[np.ndarray, "H W 2"], Bool[np.ndarray, "H W"]]:
  """Flow of the first picture's pixels, and where it can be trusted."""
  dis = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
  forward = dis.calc(first, second, None)
  backward = dis.calc(second, first, None)
  target = geometry.pixel_grid(*first.shape).astype(np.float32) + forward
  back = _sampled(cv2, backward, target)
  apart = ((forward + back) ** 2).sum(-1)
  lengths = (forward**2).sum(-1) + (back**2).sum(-1)
  good = apart < _RELATIVE * lengths + _ABSOLUTE
  return forward, good & _inside(target)


def _chained(
  cv2,
  before: UInt8[np.ndarray, "H W"],
  now: UInt8[np.ndarray, "H W"],
  positions: Float[np.ndarray, "H W 2"],
  visible: Bool[np.ndarray, "H W"],
) -> tuple[Float[np.ndarray, "H W 2"], Bool[np.ndarray, "H W"]]:
  """Points a frame later, and which of them are still seen."""
  flow, good = _flow(cv2, before, now)
  trusted = _sampled(cv2, good.astype(np.float32), positions) > 0.5
  return positions + _sampled(cv2, flow, positions), visible & trusted


def _direct(
  cv2,
  first: UInt8[np.ndarray, "H W"],
  now: UInt8[np.ndarray, "H W"],
  start: Float[np.ndarray, "H W 2"],
) -> tuple[Float[np.ndarray, "H W 2"], Bool[np.ndarray, "H W"]]:
  """Points of the first frame that are found again, and where."""
  flow, good = _flow(cv2, first, now)
  found = start + flow
  grey = _sampled(cv2, now.astype(np.float32), found)
  return found, good & (np.abs(grey - first) < _SAME_GREY)


def _surrounding(
  cv2, steps: Float[np.ndarray, "H W 2"], seen: Bool[np.ndarray, "H W"]
) -> Float[np.ndarray, "H W 2"]:
  """Mean step of the seen points around each; zero where none is near."""
  weights = seen.astype(np.float32)[..., None]
  sigma = max(1.0, _NEIGHBOURS * seen.shape[1])
  both = np.concatenate([steps * weights, weights], axis=-1)
  blurred = cv2.GaussianBlur(both, (0, 0), sigma)
  return blurred[..., :2] / np.maximum(blurred[..., 2:], 1e-6)


def _sampled(
  cv2, values: np.ndarray, positions: Float[np.ndarray, "H W 2"]
) -> np.ndarray:
  """Values between pixels, bilinear; the border's beyond it."""
  x, y = np.moveaxis(positions.astype(np.float32) - 0.5, -1, 0)
  return cv2.remap(
    values, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
  )


def _inside(positions: Float[np.ndarray, "H W 2"]) -> Bool[np.ndarray, "H W"]:
  height, width = positions.shape[:2]
  return ((positions >= 0) & (positions <= [width, height])).all(-1)
