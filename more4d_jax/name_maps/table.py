"""Tables of names, and checkpoints matched with them.

A table says for every tensor of a published model where our parameters hold
it and in which layout, or why they do not. Both directions read the same rows.
Sizes are names in the rows' shapes; they are read from the tensors.
"""

import dataclasses
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from more4d_jax.models import rotary_order

LAYER = "{i}"
Shape = tuple[int, ...]
Dims = tuple[tuple[int, str], ...]  # (2, "D") is 2 * D, (3, "") is 3.


@dataclasses.dataclass(frozen=True)
class Row:
  """One published tensor, or the same tensor of every layer.

  Attributes:
    name: published; "{i}" stands for a layer's number.
    shape: published, sizes by name: "6*D D".
    paths: ours, names joined by "/", without the layer's number; several
      where the published tensor is fused along its first axis; empty where
      our parameters do not hold it.
    layout: how ours differs: "same"; "kernel" has the input and output axes
      last instead of first; "frame_kernel" has a time axis of one before
      that; "flat_kernel" has all but the output axis as one, of lengths
      written as numbers; "transposed_kernel" is a "kernel" whose published
      form has the input axis first; "squeeze" lacks the axes written as 1.
    group: rows of a group are all there or none is; "" is always there.
    unused: why ours do not hold it.
    carried: kept beside our parameters as it is, to be given back.
    last_unused: why ours do not hold that of the last layer.
    every: this one tensor stands for every layer of the stack of that name.
    rotated: our last axis has heads in the order of `rotary_order`.
  """

  name: str
  shape: str
  paths: tuple[str, ...] = ()
  layout: str = "same"
  group: str = ""
  unused: str = ""
  carried: bool = False
  last_unused: str = ""
  every: str = ""
  rotated: bool = False

  @property
  def stack(self) -> str:
    """What stands before the layer's number, "" without one."""
    return self.name.partition(LAYER)[0] if LAYER in self.name else self.every

  @property
  def dims(self) -> Dims:
    """The published shape."""
    return tuple(map(_dim, self.shape.split()))

  @property
  def our_dims(self) -> Dims:
    """The shape of each of our parameters, without a layers axis."""
    dims, parts = self.dims, len(self.paths)
    if parts > 1:
      dims = ((dims[0][0] // parts, dims[0][1]), *dims[1:])
    if self.layout == "squeeze":
      return tuple(dim for dim in dims if dim != (1, ""))
    if self.layout == "same":
      return dims
    if self.layout == "transposed_kernel":
      return (*dims[2:], dims[0], dims[1])
    if self.layout == "flat_kernel":
      return ((math.prod(length for length, _ in dims[1:]), ""), dims[0])
    kernel = (*dims[2:], dims[1], dims[0])
    return kernel if self.layout == "kernel" else ((1, ""), *kernel)

  def ours(self, value: np.ndarray) -> np.ndarray:
    """A published value, or a part of a fused one, in our layout."""
    if self.layout == "same":
      return value
    if self.layout == "squeeze":
      kept = [n for n, dim in zip(value.shape, self.dims) if dim != (1, "")]
      return value.reshape(kept)
    if self.layout == "transposed_kernel":
      return np.moveaxis(value, (0, 1), (-2, -1))
    kernel = np.moveaxis(value, (1, 0), (-2, -1))
    if self.layout == "flat_kernel":
      return kernel.reshape(-1, kernel.shape[-1])
    return kernel if self.layout == "kernel" else kernel[None]

  def published(self, value: np.ndarray) -> np.ndarray:
    """Inverse of `ours`."""
    if self.layout == "same":
      return value
    if self.layout == "squeeze":
      lengths = iter(value.shape)
      return value.reshape(
        [1 if dim == (1, "") else next(lengths) for dim in self.dims]
      )
    if self.layout == "transposed_kernel":
      return np.moveaxis(value, (-2, -1), (0, 1))
    if self.layout == "flat_kernel":
      lengths = [length for length, _ in self.dims[1:]]
      value = value.reshape(*lengths[1:], lengths[0], -1)
    kernel = value[0] if self.layout == "frame_kernel" else value
    return np.moveaxis(kernel, (-1, -2), (0, 1))


def _dim(text: str) -> tuple[int, str]:
  factor, _, name = text.rpartition("*")
  return (int(name), "") if name.isdigit() else (int(factor or 1), name)


@dataclasses.dataclass(frozen=True)
class Table:
  """All rows of a model.

  Attributes:
    model: its name, for messages.
    rows: every tensor of a checkpoint of it.
    prefixes: what may stand before all names of a file, besides nothing.
  """

  model: str
  rows: tuple[Row, ...]
  prefixes: tuple[str, ...] = ()


def linear(
  name: str, path: str, shape: str, *, bias: bool = True, **row: Any
) -> tuple[Row, ...]:
  """Rows of a linear map or convolution: weight and bias.

  Args:
    name: of the published module.
    path: ours.
    shape: of the weight, output first.
    bias: whether there is one.
    **row: other attributes of both rows; `layout` is the weight's.
  """
  layout = row.pop("layout", "kernel")
  paths = row.pop("paths", (path,))
  kernels, biases = (
    tuple(f"{p}/{leaf}" for p in paths) for leaf in ("kernel", "bias")
  )
  weight = Row(f"{name}.weight", shape, kernels, layout, **row)
  if not bias:
    return (weight,)
  return weight, Row(f"{name}.bias", shape.split()[0], biases, **row)


def norm(
  name: str, path: str, size: str, *, bias: bool = True, **row: Any
) -> tuple[Row, ...]:
  """Rows of a normalisation: weight and bias are our scale and bias."""
  scale = Row(f"{name}.weight", size, (f"{path}/scale",), **row)
  if not bias:
    return (scale,)
  return scale, Row(f"{name}.bias", size, (f"{path}/bias",), **row)


def renamed(rows: Iterable[Row], names: Mapping[str, str]) -> tuple[Row, ...]:
  """Rows under other published names.

  Args:
    rows: with names of the first kind.
    names: module or part of a name -> its other name; whole parts between
      dots are replaced, the longest first.
  """
  result = []
  for row in rows:
    name = row.name
    for old in sorted(names, key=len, reverse=True):
      pattern = rf"(^|(?<=\.)){re.escape(old)}(?=\.|$)"
      # A name that was replaced is marked, so that it is not replaced again.
      name = re.sub(pattern, lambda _, new=names[old]: f"<{new}>", name)
    name = re.sub(r"[<>]", "", name)
    result.append(dataclasses.replace(row, name=name))
  return tuple(result)


def placed(
  rows: Iterable[Row], *, name: str = "", path: str = "", **row: Any
) -> tuple[Row, ...]:
  """Rows of a model that is part of another one.

  Args:
    rows: of the part.
    name: goes before the published names.
    path: goes before our paths.
    **row: attributes to replace.
  """
  return tuple(
    dataclasses.replace(
      old,
      name=name + old.name,
      paths=tuple(path + p for p in old.paths),
      every=name + old.every if old.every else "",
      **row,
    )
    for old in rows
  )


@dataclasses.dataclass(frozen=True)
class Entry:
  """One published tensor.

  Attributes:
    name: published, without the file's prefix.
    row: that describes it.
    layer: its number, None outside a stack.
    shape: published.
    count: layers of the stack, for a tensor that stands for all of them.
    head_dim: of a rotated row; None until `Match.with_head_dim`.
  """

  name: str
  row: Row
  layer: int | None
  shape: Shape
  count: int = 0
  head_dim: int | None = None

  def to_ours(
    self, value: np.ndarray
  ) -> Iterator[tuple[str, int | None, np.ndarray]]:
    """Yields our path, the layer and the value, for each part of a tensor."""
    for path, layer, part in self._parts(value):
      if self.row.rotated:
        head_dim = self._known_head_dim()
        yield path, layer, rotary_order.half_split(part, head_dim)
      else:
        yield path, layer, part

  def _known_head_dim(self) -> int:
    if self.head_dim is None:
      raise ValueError(f"{self.name} needs the number of heads: with_head_dim")
    return self.head_dim

  def _parts(
    self, value: np.ndarray
  ) -> Iterator[tuple[str, int | None, np.ndarray]]:
    layers = range(self.count) if self.row.every else (self.layer,)
    parts = np.split(value, len(self.row.paths))
    for path, part in zip(self.row.paths, parts, strict=True):
      ours = self.row.ours(part)
      for layer in layers:
        yield path, layer, ours

  def places(self) -> Iterator[tuple[str, int | None, Shape]]:
    """Yields our path, the layer and our shape, as `to_ours` would."""
    empty = np.broadcast_to(np.zeros((), np.int8), self.shape)
    for path, layer, ours in self._parts(empty):
      yield path, layer, ours.shape

  def to_published(self, values: Iterable[np.ndarray]) -> np.ndarray:
    """Joins our parameters, one per path, to the published tensor."""
    row = self.row
    if row.rotated:
      head_dim = self._known_head_dim()
      values = [rotary_order.neighbours(value, head_dim) for value in values]
    parts = [row.published(value) for value in values]
    joined = parts[0] if len(parts) == 1 else np.concatenate(parts)
    return joined.reshape(self.shape)


@dataclasses.dataclass(frozen=True)
class Match:
  """A checkpoint whose tensors are exactly those of a table.

  Attributes:
    model: the table's name.
    prefix: what stands before all published names.
    sizes: name of a size -> value.
    layers: stack -> number of published layers.
    entries: tensors that our parameters hold.
    carried: tensors that are kept as they are.
    unused: name of every other tensor -> the reason.
  """

  model: str
  prefix: str
  sizes: Mapping[str, int]
  layers: Mapping[str, int]
  entries: tuple[Entry, ...]
  carried: tuple[Entry, ...]
  unused: Mapping[str, str]

  def with_head_dim(self, head_dim: int) -> "Match":
    """The match of a transformer whose heads have this many values."""
    entries = (
      dataclasses.replace(entry, head_dim=head_dim)
      if entry.row.rotated
      else entry
      for entry in self.entries
    )
    return dataclasses.replace(self, entries=tuple(entries))

  def has(self, path: str) -> bool:
    """Whether one of our parameters lies at this path or below it."""
    return any(
      f"{p}/".startswith(f"{path}/") for e in self.entries for p in e.row.paths
    )
