"""Parameters that older versions wrote, in today's form as they are read."""

from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np

from more4d_jax import errors
from more4d_jax.checkpoints import stored_arrays
from more4d_jax.models import backbone, rotary_order

# The first format with today's order of rotated values.
_HALF_SPLIT = 2


def upgraded(
  params: Mapping[str, stored_arrays.StoredArray], config: Any, written: int
) -> dict[str, stored_arrays.StoredArray]:
  """A network's parameters in today's order of rotated values.

  Args:
    params: by path, of the network's own directory.
    config: of the network.
    written: format of its header.
  """
  transformer = getattr(config, "dit", config)
  if written >= _HALF_SPLIT or not isinstance(transformer, backbone.DiTConfig):
    return dict(params)
  root = "" if transformer is config else "dit/"
  head_dim = transformer.layer.head_dim
  return {
    path: _half_split(value, head_dim)
    if path.startswith(root)
    and rotary_order.is_rotated(path.removeprefix(root))
    else value
    for path, value in params.items()
  }


def _half_split(
  array: stored_arrays.StoredArray, head_dim: int
) -> stored_arrays.StoredArray:
  def read(index: stored_arrays.Index) -> np.ndarray:
    *others, last = index  # Of which all is needed, as values change places.
    return rotary_order.half_split(array[*others, :], head_dim)[..., last]

  return stored_arrays.changed(array, read)


def check_state(state: Any, extra: Mapping[str, Any], where: str) -> None:
  """Refuses to resume a training with another order of rotated values.

  Args:
    state: tree of the training's arrays.
    extra: what lies beside it.
    where: names the checkpoint.

  Raises:
    UserError: if an older version wrote a transformer's state.
  """
  if extra.get("format", 1) < _HALF_SPLIT and any(
    rotary_order.is_rotated(path.partition("/")[2]) for path in _paths(state)
  ):
    raise errors.UserError(
      f"{where} was written by an older version, which rotates other pairs of "
      "values: end this training with that version, whose finished network "
      "this one reads, or use another --workdir"
    )


def _paths(state: Any) -> Iterator[str]:
  """Paths of parameters, and of what an optimizer keeps for them."""
  leaves, _ = jax.tree_util.tree_flatten_with_path(state)
  for keys, _ in leaves:
    yield "/".join(str(key.key) for key in keys if hasattr(key, "key"))
