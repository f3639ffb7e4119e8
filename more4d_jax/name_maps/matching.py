"""Compares checkpoints with tables, strictly in both directions.

All faults are reported at once.
"""

import collections
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from more4d_jax import errors
from more4d_jax.name_maps import table as table_lib
from more4d_jax.name_maps.table import LAYER

Shapes = Mapping[str, table_lib.Shape]
_SHOWN = 20  # Names in a message; more of them say nothing new.


def common_prefix(table: table_lib.Table, names: Iterable[str]) -> str:
  """The longest of the table's prefixes that all names start with."""
  names = list(names)
  for prefix in sorted(table.prefixes, key=len, reverse=True):
    if names and all(name.startswith(prefix) for name in names):
      return prefix
  return ""


def _layers(row: table_lib.Row, names: Shapes, limit: int) -> int:
  """Layers of a row's stack, from the highest number in the names."""
  if LAYER not in row.name:
    return 0
  head, _, tail = row.name.partition(LAYER)
  pattern = re.compile(rf"{re.escape(head)}(\d+){re.escape(tail)}")
  found = [int(m.group(1)) for m in map(pattern.fullmatch, names) if m]
  # A stack has no more layers than the file has tensors.
  return 1 + max((n for n in found if n < limit), default=-1)


def _present(rows: Iterable[table_lib.Row], found: Callable) -> list:
  """Rows of the groups of which anything is found."""
  rows = list(rows)
  groups = {row.group for row in rows if found(row)} | {""}
  return [row for row in rows if row.group in groups]


def _vote(votes: Iterable[tuple[table_lib.Dims, table_lib.Shape]]) -> dict:
  """The most frequent value of each size: a wrong tensor is outvoted."""
  counts: dict[str, collections.Counter] = {}
  for dims, shape in votes:
    if len(dims) != len(shape):
      continue
    for (factor, name), length in zip(dims, shape):
      if name and length % factor == 0:
        counts.setdefault(name, collections.Counter())[length // factor] += 1
  return {name: count.most_common(1)[0][0] for name, count in counts.items()}


def _size(dims: table_lib.Dims, sizes: Mapping[str, int]) -> table_lib.Shape:
  return tuple(
    factor * sizes.get(name, 0) if name else factor for factor, name in dims
  )


def _refuse(
  what: str, table: table_lib.Table, faults: Mapping[str, list[str]]
) -> None:
  found = [
    f"{kind} {_listed(names)}" for kind, names in faults.items() if names
  ]
  if found:
    raise errors.UserError(
      f"{what} is no {table.model}: {'; '.join(found)}. Use a complete file as "
      "it was published or trained"
    )


def _listed(names: list[str]) -> str:
  """Names in one line, which stays short."""
  more = len(names) - _SHOWN
  text = ", ".join(names[:_SHOWN])
  return f"{text} and {more} more" if more > 0 else text


def match(
  table: table_lib.Table, shapes: Shapes, what: str = "the checkpoint"
) -> table_lib.Match:
  """Matches the tensors of a published checkpoint with a table.

  Args:
    table: of the model.
    shapes: published name -> shape.
    what: names the checkpoint in the message.

  Raises:
    UserError: if tensors are missing, not in the table, or of another shape;
      it lists them.
  """
  prefix = common_prefix(table, shapes)
  shapes = {name.removeprefix(prefix): s for name, s in shapes.items()}
  layers: dict[str, int] = {}
  counted = {}
  for row in table.rows:
    counted[row.name] = _layers(row, shapes, len(shapes))
    layers[row.stack] = max(layers.get(row.stack, 0), counted[row.name])
  rows = _present(
    table.rows, lambda row: row.name in shapes or counted[row.name] > 0
  )
  expected = {}
  for row in rows:
    numbers = range(layers[row.stack]) if LAYER in row.name else (None,)
    for i in numbers:
      expected[row.name.replace(LAYER, str(i))] = (row, i)
  common = {name: row for name, (row, _) in expected.items() if name in shapes}
  sizes = _vote((row.dims, shapes[name]) for name, row in common.items())
  wrong = [
    f"{name} {shapes[name]} instead of {_size(row.dims, sizes)}"
    for name, row in common.items()
    if shapes[name] != _size(row.dims, sizes)
  ]
  faults = {
    "missing": [prefix + name for name in expected if name not in shapes],
    "not expected": sorted(prefix + n for n in shapes if n not in expected),
    "of another shape": wrong,
  }
  _refuse(what, table, faults)
  if not expected:
    raise errors.UserError(f"{what} holds no tensor of a {table.model}")
  return _assemble(table, prefix, sizes, layers, expected)


def _assemble(table, prefix, sizes, layers, expected) -> table_lib.Match:
  entries, carried, unused = [], [], {}
  for name, (row, i) in expected.items():
    shape = _size(row.dims, sizes)
    count = layers[row.stack] if row.stack else 0
    entry = table_lib.Entry(name, row, i, shape, count)
    if row.carried:
      carried.append(entry)
    elif row.unused:
      unused[name] = row.unused
    elif row.last_unused and i == count - 1:
      unused[name] = row.last_unused
    else:
      entries.append(entry)
  return table_lib.Match(
    table.model, prefix, sizes, layers, tuple(entries), tuple(carried), unused
  )


def match_params(
  table: table_lib.Table,
  shapes: Shapes,
  carried: Shapes | None = None,
  what: str = "the network",
) -> table_lib.Match:
  """Matches our parameters with a table, to give them their published names.

  Args:
    table: of the model.
    shapes: our path -> shape, with the layers axis of stacked parameters.
    carried: published name -> shape of what was carried.
    what: names the network in the message.

  Raises:
    UserError: as `match`.
  """
  carried = dict(carried or {})
  rows = _present(
    [row for row in table.rows if row.paths],
    lambda row: any(path in shapes for path in row.paths),
  )
  expected = {path: row for row in rows for path in row.paths}
  layers: dict[str, int] = {}
  for path, row in expected.items():
    if row.stack and path in shapes and shapes[path]:
      layers[row.stack] = max(layers.get(row.stack, 0), shapes[path][0])

  def inner(path):  # Without the layers axis.
    return shapes[path][1:] if expected[path].stack else shapes[path]

  common = [path for path in expected if path in shapes]
  sizes = _vote((expected[path].our_dims, inner(path)) for path in common)
  wrong = []
  for path in common:
    row = expected[path]
    right = _size(row.our_dims, sizes)
    right = (layers[row.stack], *right) if row.stack else right
    if shapes[path] != right:
      wrong.append(f"{path} {shapes[path]} instead of {right}")
  kept = _carried(table, carried)
  faults = {
    "missing": [path for path in expected if path not in shapes],
    "not expected": sorted(path for path in shapes if path not in expected)
    + sorted(set(carried) - {entry.name for entry in kept}),
    "of another shape": wrong,
  }
  _refuse(what, table, faults)
  return table_lib.Match(
    table.model,
    "",
    sizes,
    layers,
    tuple(_entries(rows, layers, sizes)),
    kept,
    {},
  )


def _carried(table, shapes: Shapes) -> tuple[table_lib.Entry, ...]:
  patterns = [
    (re.compile(re.escape(row.name).replace(re.escape(LAYER), r"\d+")), row)
    for row in table.rows
    if row.carried
  ]
  return tuple(
    table_lib.Entry(name, row, None, shape)
    for name, shape in shapes.items()
    for pattern, row in patterns
    if pattern.fullmatch(name)
  )


def _entries(rows, layers, sizes) -> Iterator[table_lib.Entry]:
  for row in rows:
    shape = _size(row.dims, sizes)
    count = layers.get(row.stack, 0)
    for i in range(count) if LAYER in row.name else (None,):
      name = row.name.replace(LAYER, str(i))
      yield table_lib.Entry(name, row, i, shape, count)


def shapes_of(weights: Mapping[str, np.ndarray]) -> dict[str, table_lib.Shape]:
  """Shape of every array."""
  return {name: tuple(value.shape) for name, value in weights.items()}


def flatten(tree: Mapping[str, Any]) -> dict[str, Any]:
  """Nested dictionaries as one, path -> leaf."""
  flat = {}
  for name, value in tree.items():
    if isinstance(value, Mapping):
      flat.update({f"{name}/{k}": v for k, v in flatten(value).items()})
    else:
      flat[name] = value
  return flat


def unflatten(flat: Mapping[str, Any]) -> dict[str, Any]:
  """Inverse of `flatten`."""
  tree: dict[str, Any] = {}
  for path, value in flat.items():
    *parents, last = path.split("/")
    node = tree
    for name in parents:
      node = node.setdefault(name, {})
    node[last] = value
  return tree


def to_params(
  found: table_lib.Match, weights: Mapping[str, np.ndarray]
) -> dict[str, Any]:
  """Our tree of parameters, layers stacked.

  Args:
    found: what `match` returned for these weights.
    weights: published name -> array.
  """
  single: dict[str, np.ndarray] = {}
  stacks: dict[str, dict[int, np.ndarray]] = {}
  for entry in found.entries:
    value = weights[found.prefix + entry.name]
    for path, layer, ours in entry.to_ours(value):
      if layer is None:
        single[path] = ours
      else:
        stacks.setdefault(path, {})[layer] = ours
  for path, parts in stacks.items():
    single[path] = np.stack([parts[i] for i in range(len(parts))])
  return unflatten(single)


def to_weights(
  found: table_lib.Match, params: Mapping[str, Any]
) -> dict[str, np.ndarray]:
  """Published name -> array, for our parameters or their gradients.

  Args:
    found: of this network; parameters that `params` lacks are left out.
    params: nested dict of arrays, layers stacked.
  """
  flat = flatten(params)
  weights = {}
  for entry in found.entries:
    paths = entry.row.paths
    if not all(path in flat for path in paths):
      continue
    layer = 0 if entry.row.every else entry.layer
    values = [np.asarray(flat[path]) for path in paths]
    if layer is not None:
      values = [value[layer] for value in values]
    weights[found.prefix + entry.name] = entry.to_published(values)
  return weights


def exact_root(value: int, what: str) -> int:
  """The side of a square grid of `value` cells.

  Raises:
    UserError: if it is no square.
  """
  side = math.isqrt(value)
  if side * side != value:
    raise errors.UserError(f"{what}: {value} patches are no square grid")
  return side
