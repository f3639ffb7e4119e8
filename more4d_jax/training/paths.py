"""Parameters by the path that leads to them, such as "vae/decoder/conv"."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
from flax import traverse_util

from more4d_jax import partitioning


def map_with_path(function: Callable[[str, Any], Any], tree: Any) -> Any:
  """Maps (path, leaf) over a tree; boxes are seen through and kept."""

  def one(path: Any, leaf: Any) -> Any:
    return function(_join(path), leaf)

  return jax.tree_util.tree_map_with_path(one, tree)


def _join(path: Sequence[Any]) -> str:
  """Joins dictionary keys; the attribute of a box is left out."""
  keys = [str(key.key) for key in path if hasattr(key, "key")]
  return "/".join(keys)


def names(tree: Any) -> list[str]:
  """The path of every leaf."""
  leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
  return [_join(path) for path, _ in leaves]


def first_match(table: Mapping[str, float], path: str, default: float) -> float:
  """Returns the value of the first pattern that matches the whole path."""
  for pattern, value in table.items():
    if re.fullmatch(pattern, path):
      return value
  return default


def split(params: Any, trainable: Sequence[str]) -> tuple[Any, Any]:
  """Splits a tree into what is trained and what stays.

  Args:
    params: nested dict, boxed or not.
    trainable: regular expressions of whole paths.

  Returns: two nested dicts without empty branches.

  Raises:
    ValueError: if a pattern matches nothing.
  """
  flat = traverse_util.flatten_dict(
    params, sep="/", is_leaf=lambda _, leaf: partitioning.is_box(leaf)
  )
  chosen = {
    pattern: [path for path in flat if re.fullmatch(pattern, path)]
    for pattern in trainable
  }
  for pattern, found in chosen.items():
    if not found:
      raise ValueError(
        f"the pattern {pattern!r} of trainable parameters matches none: "
        f"the first paths are {sorted(flat)[:3]}"
      )
  names = {path for found in chosen.values() for path in found}
  parts = (
    {path: leaf for path, leaf in flat.items() if path in names},
    {path: leaf for path, leaf in flat.items() if path not in names},
  )
  return tuple(traverse_util.unflatten_dict(part, sep="/") for part in parts)


def merge(first: Any, second: Any) -> Any:
  """Joins two nested dicts that share no leaf."""
  flat = traverse_util.flatten_dict(first, sep="/")
  flat |= traverse_util.flatten_dict(second, sep="/")
  return traverse_util.unflatten_dict(flat, sep="/")
