"""A part of a bundle, written while its published file is read."""

import dataclasses
import hashlib
import pathlib
import shutil
from collections.abc import Callable
from typing import Any

import numpy as np
import tqdm

from more4d_jax.checkpoints import (
  array_trees,
  dtypes,
  quantised_arrays,
  store,
  weight_files,
)
from more4d_jax.models import quantised
from more4d_jax.models.encoders import tokenizer
from more4d_jax.name_maps import table
from more4d_jax.published import assembly, recognition


def write(
  directory: pathlib.Path,
  part: recognition.Part,
  dtype: str | None,
  clip: assembly.Clip,
  *,
  progress: bool,
) -> None:
  """Writes a part; one tensor at a time is in memory.

  Args:
    directory: of the part, not yet under its name.
    part: what it holds.
    dtype: see `convert.Options`.
    clip: what the weights were trained at.
    progress: shows a bar on the terminal.
  """
  digests: dict[str, str] = {}
  bar = tqdm.tqdm(
    total=len(part.entries),
    desc=part.directory,
    unit="tensor",
    disable=not progress,
  )
  with bar:
    tree = _lazy_tree(part, dtype, _Watch(digests, bar.update))
    store.save_params(directory, tree)
  if part.carried:
    kept = {name: part.tensors[part.prefix + name] for name in part.carried}
    store.save_carried(directory, kept)
  files = {}
  text = "\n".join(f"{path} {digests[path]}" for path in sorted(digests))
  if part.tokenizer is not None:
    files["tokenizer"] = "tokenizer"
    _copy_tokenizer(part.tokenizer, directory / "tokenizer")
    text += f"\ntokenizer {tokenizer.digest(directory / 'tokenizer')}"
  identity = hashlib.sha256(text.encode()).hexdigest()[:16]
  metadata = {**part.metadata, "identity": identity}
  metadata["clip"] = dataclasses.asdict(clip)
  store.write_header(directory, part.config, metadata, files=files)


@dataclasses.dataclass(frozen=True)
class _Watch:
  """Notes what has been read.

  Attributes:
    digests: path -> digest of the values.
    advance: counts a published tensor.
  """

  digests: dict[str, str]
  advance: Callable[[], Any]

  def watched(
    self, array: array_trees.LazyArray, key: str, *, counts: bool
  ) -> array_trees.LazyArray:
    """The array; reading it is noted, and if it counts, counted."""

    def read() -> np.ndarray:
      value = np.ascontiguousarray(array.read())
      data = value.reshape(-1).view(np.uint8).data
      self.digests[key] = hashlib.sha256(data).hexdigest()
      if counts:
        self.advance()
      return value

    return dataclasses.replace(array, read=read)


def _lazy_tree(
  part: recognition.Part,
  dtype: str | None,
  watch: _Watch,
) -> dict[str, Any]:
  """Our tree, whose arrays are read from the file when they are written."""
  eight = dtype == dtypes.INT8 and dtypes.may_be_int8(part.config)
  cast = dtype and dtypes.STORED[dtypes.products(dtype)]
  read = weight_files.remembering_last(part.tensors)
  tree: dict[tuple[str, int | None], array_trees.LazyArray] = {}
  for entry in part.entries:
    name = part.prefix + entry.name
    own = part.tensors[name].dtype
    for position, (path, layer, shape) in enumerate(entry.places()):
      ours = path.removeprefix(part.root)

      def one(entry=entry, name=name, position=position) -> np.ndarray:
        return _part_of(entry, read(name), position)

      array = array_trees.LazyArray(shape, own, one)
      if eight and quantised.is_meant(ours):
        found = quantised_arrays.quantised_lazily(ours, array)
      else:
        found = {ours: array.astype(cast or own)}
      for leaf, value in found.items():
        tree[leaf, layer] = watch.watched(
          value,
          str((leaf, layer)),
          counts=position == 0 and leaf == ours,
        )
  return array_trees.layers_apart(tree)


def _part_of(
  entry: table.Entry, value: np.ndarray, position: int
) -> np.ndarray:
  """The parameter at a position among those of a published tensor."""
  for i, (_, _, ours) in enumerate(entry.to_ours(value)):
    if i == position:
      return ours
  raise IndexError(position)


def _copy_tokenizer(source: pathlib.Path, target: pathlib.Path) -> None:
  target.mkdir()
  for name in recognition.TOKENIZER_FILES:
    if (source / name).is_file():
      shutil.copyfile(source / name, target / name)
