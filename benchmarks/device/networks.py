"""4D-STraG with random weights on the device, and what it costs to run."""

from typing import Any

import jax
import jax.numpy as jnp

from more4d_jax import partitioning
from more4d_jax.models import backbone, strag, variants


def conditions(
  variant: variants.Variant, batch: int
) -> tuple[jax.Array, strag.STraGConditions]:
  """Noisy latents, and cached conditions, all random."""
  config = variant.strag
  keys = iter(jax.random.split(jax.random.key(1), 8))

  def normal(*shape: int) -> jax.Array:
    return jax.random.normal(next(keys), (batch, *shape), jnp.float32)

  latents = normal(*variant.latent_grid, strag.LATENT_CHANNELS)
  dit = config.dit
  patches = dit.motion_grid[0] * dit.motion_grid[1]
  image = None
  if dit.image_width is not None:
    image = normal(dit.image_tokens, dit.image_width)
  return latents, strag.STraGConditions(
    text_context=normal(dit.text_length, dit.text_width),
    control=normal(*variant.latent_grid, strag.LATENT_CHANNELS),
    depth=normal(*variant.latent_grid, strag.LATENT_CHANNELS),
    reference=latents[:, 0],
    image_context=image,
    motion_features=normal(patches, dit.motion_width),
  )


def boxed_shapes(variant: variants.Variant) -> Any:
  """Shapes of the transformer's parameters, with the names of their axes."""
  latents, given = jax.eval_shape(lambda: conditions(variant, 1))
  module = strag.STraG(variant.strag)
  return jax.eval_shape(
    lambda key, x, c: module.init(key, x, jnp.ones(1), c)["params"],
    jax.random.key(0),
    latents,
    given,
  )


def parameters(variant: variants.Variant, dtype: Any) -> Any:
  """Random parameters of the transformer, made one by one on the device.

  Matrices are scaled by the square root of their inputs, so that activations
  keep their size through the layers.
  """
  leaves, tree = jax.tree.flatten(partitioning.unbox(boxed_shapes(variant)))
  make = jax.jit(_normal, static_argnames=("shape", "dtype"))
  return jax.tree.unflatten(
    tree,
    [
      make(jax.random.key(i), shape=leaf.shape, dtype=dtype)
      for i, leaf in enumerate(leaves)
    ],
  )


def _normal(key: jax.Array, shape: tuple[int, ...], dtype: Any) -> jax.Array:
  scale = max(shape[-2:], default=1) ** -0.5
  return (scale * jax.random.normal(key, shape, dtype)).astype(dtype)


def forward_flops(dit: backbone.DiTConfig, grid: tuple[int, int, int]) -> float:
  """Operations of the layers' products for one sample.

  The layers are more than 99 % of the network; embeddings, modulation and the
  Motion Perception Module are left out.

  Args:
    dit: the transformer.
    grid: latent frames, rows and columns.
  """
  frames, rows, columns = (n // p for n, p in zip(grid, dit.patch))
  tokens = frames * rows * columns + (rows * columns if dit.reference else 0)
  width = dit.width
  contexts = [dit.text_length]
  if dit.image_width is not None:
    contexts.append(dit.image_tokens)
  own = 8 * tokens * width**2 + 4 * tokens**2 * width
  cross = 4 * tokens * width**2 + sum(
    4 * n * width**2 + 4 * tokens * n * width for n in contexts
  )
  mlp = 4 * tokens * width * dit.ffn_width
  return float(dit.num_layers * (own + cross + mlp))
