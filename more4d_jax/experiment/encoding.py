"""Frozen networks as one compiled function: records' arrays to conditions.

The same function fills caches and, in online mode, stands before every step.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from more4d_jax import checkpoint_networks, partitioning
from more4d_jax.checkpoints import store
from more4d_jax.conditions import cache
from more4d_jax.sampling import networks

# (bound networks by kind, batch) -> conditions
EncodeWith = Callable[
  [Mapping[str, networks.BoundModule], Mapping[str, Any]],
  Mapping[str, jax.Array],
]
# Latents need one half of an autoencoder.
_PARTS: Mapping[str, Sequence[str]] = {
  "video_vae": ("encoder",),
  "motion_vae": ("encoder",),
}


def on_mesh(
  function: EncodeWith,
  found: Mapping[str, store.Network],
  mesh: Mesh,
  dtype: Any,
) -> cache.Encode:
  """Compiles an encoding, and places its networks.

  Args:
    function: pure.
    found: networks by kind; a denoiser with its encoders only.
    mesh: divides batches and, by the names of their axes, weights.
    dtype: of the latents and features.
  """
  held = checkpoint_networks.CheckpointNetworks(found, mesh=mesh)
  bound = {kind: held.bound(kind, _PARTS.get(kind)) for kind in found}
  place = partitioning.batch_sharding(mesh)

  @functools.partial(jax.jit, out_shardings=place)
  def encode(bound: Any, batch: Any) -> dict[str, jax.Array]:
    made = function(bound, batch)
    return {name: _in_dtype(value, dtype) for name, value in made.items()}

  def run(batch: Mapping[str, Any]) -> dict[str, jax.Array]:
    with jax.set_mesh(mesh):
      return encode(bound, jax.device_put(dict(batch), place))

  return run


def local_mesh() -> Mesh:
  """All devices of this process; they share weights and batches."""
  config = partitioning.MeshConfig(fsdp=-1)
  return partitioning.make_mesh(config, jax.local_devices())


def _in_dtype(value: jax.Array, dtype: Any) -> jax.Array:
  floating = jnp.issubdtype(value.dtype, jnp.floating)
  return value.astype(dtype) if floating else value
