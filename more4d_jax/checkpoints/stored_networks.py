"""Networks whose parameters stay on disk until they are read."""

import dataclasses
import os
import pathlib
from collections.abc import Mapping
from typing import Any

from more4d_jax import registry
from more4d_jax.checkpoints import (
  array_trees,
  configurations,
  older_formats,
  store,
  weight_files,
)


@dataclasses.dataclass(frozen=True)
class StoredNetwork:
  """A network whose parameters are still on disk.

  Attributes:
    kind: see `store.Network`.
    config: see `store.Network`.
    metadata: see `store.Network`.
    params: path -> array.
    carried: published name -> tensor that only conversion back needs.
    parts: parameters -> the metadata of the part that holds them.
  """

  kind: str
  config: Any
  metadata: dict[str, Any]
  params: Mapping[str, array_trees.StoredArray]
  carried: Mapping[str, array_trees.LazyArray]
  parts: Mapping[str, dict[str, Any]]


def open_network(directory: str | os.PathLike[str]) -> StoredNetwork:
  """As `store.load_network`, with the parameters left on disk."""
  path = pathlib.Path(directory).absolute()
  header = store.load_header(path)
  config = configurations.from_json(
    registry.config_classes()[header["kind"]], header["config"]
  )
  params: dict[str, array_trees.StoredArray] = {}
  carried: dict[str, array_trees.LazyArray] = {}
  parts: dict[str, dict[str, Any]] = {}
  if "parts" not in header:
    try:
      params = array_trees.open_stored(path / store.PARAMS)
    except store.WEIGHT_ERRORS as error:
      raise store.damaged(path / store.PARAMS, error) from error
    params = older_formats.upgraded(params, config, header["format"])
  if (path / store.CARRIED).is_file():
    carried.update(weight_files.open_weights(path / store.CARRIED).tensors)
  for name, beside in header.get("parts", {}).items():
    part = open_network(path.parent / beside)
    params |= {f"{name}/{key}": value for key, value in part.params.items()}
    carried |= part.carried
    parts[name] = part.metadata
  return StoredNetwork(
    header["kind"], config, header["metadata"], params, carried, parts
  )
