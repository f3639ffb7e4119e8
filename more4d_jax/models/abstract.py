"""Shapes of a network's parameters and the names of their axes."""

import re
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding

from more4d_jax import partitioning
from more4d_jax.models import lora_beside, quantised

_LAYERS = re.compile(r"(?:[^/]+/)*blocks/.+")
_CLIP = (1, 5, 32, 48, 3)  # What every network takes, whatever its size.
_LATENTS = (1, 2, 4, 6, 16)


def boxed_shapes(kind: str, module: nn.Module) -> Any:
  """Parameters of a network, boxed, from its configuration alone.

  Args:
    kind: a row of `registry.NETWORKS`.
    module: of that kind.
  """
  method = "__call__"
  if kind == "depth":
    shapes = [(1, *_CLIP[2:])]
  elif kind in ("video_vae", "motion_vae"):
    shapes = [_CLIP]
  else:
    method = "initialise"
    shapes = [_LATENTS, (1, module.config.text.length), (1, *_CLIP[2:])]
  types = [jnp.float32, jnp.int32, jnp.float32]
  inputs = [jnp.zeros(shape, dtype) for shape, dtype in zip(shapes, types)]
  return jax.eval_shape(
    lambda key: module.init(key, *inputs, method=method)["params"],
    jax.random.key(0),
  )


def sharding(
  path: str, shape: tuple[int, ...], boxed: Mapping[str, Any], mesh: Mesh
) -> NamedSharding:
  """Where a mesh has a parameter, or what stands beside a kernel.

  Args:
    path: of it.
    shape: of it.
    boxed: path -> what `boxed_shapes` gives.
    mesh: of devices.
  """
  if path in boxed:
    box = boxed[path]
    names = box.names if partitioning.is_box(box) else (None,) * len(shape)
  else:
    module, _, leaf = path.rpartition("/")
    *above, inner, outer = boxed[f"{module}/kernel"].names
    names = {
      quantised.SCALE: (*above, outer),
      lora_beside.DOWN: (*above, inner, None),
      lora_beside.UP: (*above, None, outer),
    }[leaf]
  return NamedSharding(mesh, partitioning.partition_spec(names, shape, mesh))


def is_layers(path: str) -> bool:
  """Whether a parameter is that of layers that run one after the other."""
  return _LAYERS.fullmatch(path) is not None
