"""Networks and bundles of networks on disk.

A network is a directory with `network.json` (kind, configuration, metadata)
and its parameters: an Orbax tree `params/`, or the names of its parts, which
are networks beside it, so that several share one text encoder. A bundle is a
directory of networks and a `model.json` that names them. All are written under
a temporary name and renamed when complete, so a directory that exists is
whole.
"""

import dataclasses
import hashlib
import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from more4d_jax import locations, registry
from more4d_jax.checkpoints import (
  array_trees,
  configurations,
  directories,
  headers,
  older_formats,
  placing,
  safetensors_files,
  stored_arrays,
  weight_files,
)
from more4d_jax.name_maps import matching

PARAMS = "params"
NETWORK, MODEL = "network.json", "model.json"
# Published tensors that no network of ours holds.
CARRIED = "carried.safetensors"


@dataclasses.dataclass(frozen=True)
class Network:
  """One trained network.

  Attributes:
    kind: of `registry.NETWORKS`, or of `registry.PARTS`.
    config: the frozen dataclass its module takes.
    params: nested dict of arrays, in memory or still on disk
      (`stored_arrays.StoredArray`). Networks that share a part share arrays.
    metadata: what sampling must know (JSON values).
    files: what else belongs to it by name, as "tokenizer".
    carried: published name -> tensor that only conversion back needs.
    parts: parameters that are stored beside it -> the metadata of that part.
  """

  kind: str
  config: Any
  params: Any
  metadata: dict[str, Any]
  files: Mapping[str, pathlib.Path] = dataclasses.field(default_factory=dict)
  carried: Mapping[str, array_trees.LazyArray] = dataclasses.field(
    default_factory=dict
  )
  parts: Mapping[str, dict[str, Any]] = dataclasses.field(default_factory=dict)


def fingerprint(params: Any, facts: Mapping[str, Any]) -> str:
  """Returns 16 hexadecimal digits that change with any weight and any fact.

  It is how a network's metadata names the network it was trained on. The
  host holds a piece of an array at a time.

  Args:
    params: nested dict of arrays, see `placing.pieces`.
    facts: what else decides what the network computes, JSON values.
  """
  digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
  leaves, _ = jax.tree_util.tree_flatten_with_path(params)
  for path, leaf in leaves:
    digest.update(jax.tree_util.keystr(path).encode())
    for piece in placing.pieces(leaf):
      digest.update(np.ascontiguousarray(piece).tobytes())
  return digest.hexdigest()[:16]


def write_header(
  directory: locations.Location,
  config: Any,
  metadata: Mapping[str, Any],
  *,
  parts: Mapping[str, str] | None = None,
  files: Mapping[str, str] | None = None,
) -> None:
  """Writes what is known of a network beside its parameters.

  Args:
    directory: of the network, not yet under its name.
    config: one of the dataclasses of `registry.config_classes`.
    metadata: JSON values.
    parts: name among the parameters -> directory beside this network's.
    files: name -> file or folder in the directory.
  """
  kinds = {cls: kind for kind, cls in registry.config_classes().items()}
  header = {
    "format": headers.FORMAT,
    "kind": kinds[type(config)],
    "config": dataclasses.asdict(config),
    "metadata": dict(metadata),
  }
  for name, value in (("parts", parts), ("files", files)):
    if value:
      header[name] = dict(value)
  headers.write(directory / NETWORK, header)


def save_params(directory: locations.Location, params: Any) -> None:
  """Writes parameters of a network that is not yet under its name.

  Args:
    directory: of the network.
    params: nested dict of arrays without boxes; see `array_trees.save`.
  """
  array_trees.save(directory / PARAMS, params)


def save_carried(
  directory: locations.Location, tensors: Mapping[str, array_trees.LazyArray]
) -> None:
  """Keeps published tensors as they are, to be given back."""
  safetensors_files.write(directory / CARRIED, tensors)


def save_network(
  directory: str | os.PathLike[str],
  params: Any,
  config: Any,
  metadata: Mapping[str, Any],
  files: Mapping[str, pathlib.Path] | None = None,
) -> None:
  """Writes one network, replacing an older one of that name.

  Args:
    directory: where the network goes; its parents are made.
    params: nested dict of arrays without boxes.
    config: one of the dataclasses of `registry.config_classes`.
    metadata: JSON values.
    files: name -> folder that belongs to it and is copied.
  """
  with directories.new_directory(directory, NETWORK) as temporary:
    save_params(temporary, params)
    if jax.process_index() == 0:
      for name, folder in (files or {}).items():
        locations.copy_tree(folder, temporary / name)
      write_header(
        temporary, config, metadata, files={name: name for name in files or {}}
      )


def load_header(directory: str | os.PathLike[str]) -> dict[str, Any]:
  """Reads a network's kind, configuration and metadata, not its weights.

  Raises:
    UserError: if the directory holds no network, or a damaged one.
  """
  path = locations.absolute(directory)
  return headers.read(
    path / NETWORK,
    "a network",
    "train it to its end, or name its directory",
    ("kind", "config", "metadata"),
  )


def open_network(
  directory: str | os.PathLike[str],
  shared: dict[locations.Location, Network] | None = None,
) -> Network:
  """Reads what is known of a network; its parameters stay on disk.

  What an older version wrote is brought to today's form as it is read.

  Args:
    directory: of the network.
    shared: parts that were opened before, and those opened now.

  Raises:
    UserError: if the directory holds no network, or a damaged one. Reading
      damaged parameters raises it too.
  """
  path = locations.absolute(directory)
  shared = {} if shared is None else shared
  header = load_header(path)
  config = configurations.from_json(
    registry.config_classes()[header["kind"]], header["config"]
  )
  params, parts = {}, {}
  files = {
    k: locations.brought_here(path / name)
    for k, name in header.get("files", {}).items()
  }
  carried: dict[str, array_trees.LazyArray] = {}
  if "parts" not in header:
    params = matching.unflatten(
      older_formats.upgraded(
        stored_arrays.open_tree(path / PARAMS), config, header["format"]
      )
    )
  if (path / CARRIED).is_file():
    carried.update(
      weight_files.open_weights(locations.brought_here(path / CARRIED)).tensors
    )
  for name, beside in header.get("parts", {}).items():
    place = path.parent / beside
    if place not in shared:
      shared[place] = open_network(place)
    part = shared[place]
    params[name], parts[name] = part.params, part.metadata
    files |= part.files
    carried |= part.carried
  return Network(
    header["kind"], config, params, header["metadata"], files, carried, parts
  )


def load_network(directory: str | os.PathLike[str]) -> Network:
  """As `open_network`, with the parameters as numpy arrays in host memory."""
  network = open_network(directory)
  return dataclasses.replace(
    network, params=jax.tree.map(np.asarray, network.params)
  )


def _read_model(directory: str | os.PathLike[str]) -> dict[str, Any]:
  return headers.read(
    locations.absolute(directory) / MODEL,
    "a bundle",
    "make one with `more4d bundle`",
    ("networks",),
  )


def networks_of(directory: str | os.PathLike[str]) -> dict[str, str]:
  """The networks that a bundle names: kind -> directory in it.

  Raises:
    UserError: if the directory is no bundle, or a damaged one.
  """
  return dict(_read_model(directory)["networks"])


def loras_of(
  directory: str | os.PathLike[str],
) -> dict[str, locations.Location]:
  """The LoRAs that belong to a bundle's networks, by kind; as `networks_of`."""
  path = locations.absolute(directory)
  names = _read_model(path).get("loras", {})
  return {kind: path / name for kind, name in names.items()}


def about(directory: str | os.PathLike[str]) -> dict[str, Any]:
  """What a person should know of a bundle, as it was made with."""
  return dict(_read_model(directory).get("about", {}))


def open_bundle(directory: str | os.PathLike[str]) -> dict[str, Network]:
  """Opens every network of a bundle, by kind; see `open_network`.

  Raises:
    UserError: if the directory is no bundle, or a damaged one.
  """
  path = locations.absolute(directory)
  shared: dict[locations.Location, Network] = {}
  return {
    kind: open_network(path / name, shared)
    for kind, name in networks_of(path).items()
  }


def write_model(
  directory: locations.Location,
  networks: Mapping[str, str],
  loras: Mapping[str, str] | None = None,
  about: Mapping[str, Any] | None = None,
) -> None:
  """Names what a bundle holds.

  Args:
    directory: of the bundle.
    networks: kind -> directory in it.
    loras: kind -> file in it that changes the kind's transformer.
    about: what a person should know of it, JSON values.
  """
  value = {"format": headers.FORMAT, "networks": dict(networks)}
  for name, facts in (("loras", loras), ("about", about)):
    if facts:
      value[name] = dict(facts)
  temporary = directory / f"{MODEL}.partial"
  headers.write(temporary, value)
  os.replace(temporary, directory / MODEL)
