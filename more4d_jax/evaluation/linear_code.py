"""Linear codes of motion: what a motion autoencoder has to beat.

Both replace a clip of normalised motion by as many coefficients as the
autoencoder has latent values, along the directions of largest variance of
training clips (principal components). `LinearCode` cuts a clip into blocks of
8 x 8 pixels and all frames, and spends on each what the autoencoder spends
there (16 channels for each of its t latent frames). `ClipCode` takes a clip as
one vector.
"""

import dataclasses
from collections.abc import Iterable, Sequence

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


@dataclasses.dataclass(frozen=True)
class ClipCode:
  """Principal components of whole clips, as combinations of training clips.

  Attributes:
    mean: clip mean, [T * H * W * 3].
    centred: training clips less their mean, in rows.
    weights: of the training clips in each component, [clips, coefficients].
  """

  mean: Float[np.ndarray, "D"]
  centred: Float[np.ndarray, "N D"]
  weights: Float[np.ndarray, "N K"]

  @classmethod
  def fit(
    cls, clips: Sequence[Float[np.ndarray, "T H W 3"]], coefficients: int
  ) -> "ClipCode":
    """Fits the code through the clips' inner products, N x N.

    Args:
      clips: normalised motion of N training scenes, invalid pixels zero. They
        stay in memory, as float32.
      coefficients: K, more than N - 1 of which there cannot be.

    Raises:
      ValueError: without any clip.
    """
    if not len(clips):
      raise ValueError("a linear code needs at least one training clip")
    rows = np.stack([clip.reshape(-1) for clip in clips]).astype(np.float32)
    mean = rows.mean(axis=0)
    rows -= mean
    values, vectors = np.linalg.eigh(_inner_products(rows))
    # Directions that only rounding spans have no length to divide by.
    kept = values > values[-1] * 1e-9
    values, vectors = values[kept][::-1], vectors[:, kept][:, ::-1]
    weights = vectors[:, :coefficients] / np.sqrt(values[:coefficients])
    return cls(mean, rows, weights.astype(np.float32))

  def reconstruct(
    self, motion: Float[np.ndarray, "T H W 3"]
  ) -> Float[np.ndarray, "T H W 3"]:
    """Encodes and decodes one clip; float32."""
    centred = motion.reshape(-1) - self.mean
    coefficients = self.weights.T @ (self.centred @ centred)
    decoded = self.mean + (self.weights @ coefficients) @ self.centred
    return decoded.reshape(motion.shape).astype(np.float32)


def _inner_products(
  rows: Float[np.ndarray, "N D"], columns: int = 8192
) -> Float[np.ndarray, "N N"]:
  """Float64 inner products of float32 rows, some columns at a time.

  In float32 their rounding would drown the smaller half of the components.
  """
  total = np.zeros((len(rows), len(rows)))
  for first in range(0, rows.shape[1], columns):
    part = rows[:, first : first + columns].astype(np.float64)
    total += part @ part.T
  return total


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
