"""A linear code of motion: what a motion autoencoder has to beat.

A clip of normalised motion is cut into blocks of 8 x 8 pixels and all frames;
each block is replaced by as many coefficients as the autoencoder spends on it
(16 channels for each of its t latent frames), along the directions of largest
variance of training clips.
"""

import dataclasses
from collections.abc import Iterable

import numpy as np
from jaxtyping import Bool, Float

BLOCK = 8


@dataclasses.dataclass(frozen=True)
class LinearCode:
  """An orthonormal basis of motion blocks.

  Attributes:
    mean: block mean, [block values].
    basis: directions in its columns, [block values, coefficients].
  """

  mean: Float[np.ndarray, "D"]
  basis: Float[np.ndarray, "D K"]


def to_blocks(motion: Float[np.ndarray, "T H W 3"]) -> Float[np.ndarray, "N D"]:
  """Cuts a clip into blocks, D = T * 8 * 8 * 3 values each."""
  frames, height, width, _ = motion.shape
  h, w = height // BLOCK, width // BLOCK
  blocks = motion.reshape(frames, h, BLOCK, w, BLOCK, 3)
  return blocks.transpose(1, 3, 0, 2, 4, 5).reshape(h * w, -1)


def from_blocks(
  blocks: Float[np.ndarray, "N D"], shape: tuple[int, int, int]
) -> Float[np.ndarray, "T H W 3"]:
  """Inverse of `to_blocks` for a clip of `shape` (T, H, W)."""
  frames, height, width = shape
  h, w = height // BLOCK, width // BLOCK
  clip = blocks.reshape(h, w, frames, BLOCK, BLOCK, 3)
  return clip.transpose(2, 0, 3, 1, 4, 5).reshape(frames, height, width, 3)


def fit(
  clips: Iterable[Float[np.ndarray, "T H W 3"]], coefficients: int
) -> LinearCode:
  """Fits the code in closed form: eigenvectors of the block covariance.

  Args:
    clips: normalised motion of training scenes, invalid pixels zero.
    coefficients: values kept per block.

  Raises:
    ValueError: without any clip.
  """
  count, total, outer = 0, 0.0, 0.0
  for clip in clips:
    blocks = to_blocks(clip).astype(np.float64)
    count += len(blocks)
    total = total + blocks.sum(axis=0)
    outer = outer + blocks.T @ blocks
  if not count:
    raise ValueError("a linear code needs at least one training clip")
  mean = total / count
  covariance = outer / count - np.outer(mean, mean)
  _, vectors = np.linalg.eigh(covariance)
  return LinearCode(mean=mean, basis=vectors[:, ::-1][:, :coefficients].copy())


def reconstruct(
  code: LinearCode, motion: Float[np.ndarray, "T H W 3"]
) -> Float[np.ndarray, "T H W 3"]:
  """Encodes and decodes one clip; float32."""
  centred = to_blocks(motion).astype(np.float64) - code.mean
  decoded = centred @ code.basis @ code.basis.T + code.mean
  clip = from_blocks(decoded, motion.shape[:3])
  return clip.astype(np.float32)


@dataclasses.dataclass
class MotionError:
  """Sums of squares over valid moving pixels, all frames after the first."""

  error: float = 0.0
  motion: float = 0.0
  values: int = 0

  def add(
    self,
    predicted: Float[np.ndarray, "T H W 3"],
    true: Float[np.ndarray, "T H W 3"],
    mask: Bool[np.ndarray, "H W"],
  ) -> None:
    """Counts one clip; `mask` marks its valid moving pixels."""
    p = predicted[1:, mask].astype(np.float64)
    t = true[1:, mask].astype(np.float64)
    self.error += float(((p - t) ** 2).sum())
    self.motion += float((t**2).sum())
    self.values += t.size

  @property
  def relative(self) -> float:
    """Root mean square error over root mean square motion."""
    return (self.error / self.motion) ** 0.5 if self.motion else float("nan")
