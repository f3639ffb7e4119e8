"""The noise that samplers start from."""

from collections.abc import Sequence

import jax
import numpy as np
from jaxtyping import Float

from more4d_jax import rng
from more4d_jax.sampling import sample_strag


def latents(
  keys: Sequence[tuple[int, int]], purpose: str, size: tuple[int, int, int]
) -> Float[np.ndarray, "B t h w C"]:
  """Standard normal latents; each depends on its own key alone.

  Args:
    keys: seed and number of each sample.
    purpose: "strag" or "vism".
    size: frames, height and width in pixels.
  """
  _, *shape = sample_strag.latent_shape(len(keys), *size)
  return np.stack(
    [
      jax.random.normal(rng.key(seed, f"{purpose}_noise", number), shape)
      for seed, number in keys
    ]
  )
