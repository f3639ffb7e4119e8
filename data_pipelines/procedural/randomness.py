"""Named random generators: the same seed and purpose give the same draws."""

import zlib

import numpy as np


def generator(seed: int, purpose: str) -> np.random.Generator:
  """Returns the generator of one purpose of one scene.

  Args:
    seed: scene number, 0 or larger.
    purpose: what the draws are for; other purposes are independent.

  Raises:
    ValueError: the seed is negative.
  """
  if seed < 0:
    raise ValueError(f"expected a seed of 0 or larger, found {seed}")
  return np.random.default_rng([seed, zlib.crc32(purpose.encode())])


def pick(rng: np.random.Generator, options, weights=None):
  """Returns one element of a sequence, equally likely without weights."""
  if weights is None:
    return options[int(rng.integers(len(options)))]
  shares = np.cumsum(np.asarray(weights, np.float64))
  place = np.searchsorted(shares, rng.random() * shares[-1], side="right")
  return options[min(int(place), len(options) - 1)]


def sign(rng: np.random.Generator) -> float:
  """Returns -1.0 or 1.0, equally likely."""
  return 1.0 if rng.random() < 0.5 else -1.0
