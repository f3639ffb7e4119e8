"""Trained networks that a run needs, or goes on from."""

import os
from collections.abc import Mapping
from typing import Any

import jax

from more4d_jax import errors, locations
from more4d_jax.checkpoints import store
from more4d_jax.experiment import run_config
from more4d_jax.models import quantised


def locate(directory: str | os.PathLike[str], kind: str) -> locations.Location:
  """Finds a network in a workdir, a bundle or its own directory.

  Raises:
    UserError: if there is none of this kind.
  """
  root = locations.path(directory)
  for candidate in (root / "model", root / kind, root):
    if (candidate / "network.json").is_file():
      found = store.load_header(candidate)["kind"]
      if found == kind:
        return candidate
      raise errors.UserError(
        f"expected a {kind} in {directory}, found a {found}: name the workdir "
        f"in which the {kind} was trained"
      )
  raise errors.UserError(
    f"expected a trained {kind} in {directory}, found none: train it to its "
    f"end first, or name another directory in init_from.{kind}"
  )


def load(config: run_config.RunConfig, kind: str) -> store.Network:
  """Opens a network that a task cannot do without, from `init_from`.

  Raises:
    UserError: if it is not named, absent, or of another size.
  """
  name = getattr(config.init_from, kind)
  if not name:
    raise errors.UserError(
      f"a {config.task} needs a trained {kind}: add "
      f"--config.init_from.{kind}=WORKDIR"
    )
  place = locate(name, kind)
  _check_size(config, kind, store.load_header(place)["metadata"])
  return store.open_network(place)


def start(config: run_config.RunConfig) -> store.Network | None:
  """Opens the network of the run's own kind to go on from, if one is named.

  Raises:
    UserError: if it is absent, of another size, or in int8.
  """
  kind = config.task
  name = getattr(config.init_from, kind)
  if not name:
    return None
  found = store.open_network(locate(name, kind))
  _check_size(config, kind, found.metadata)
  if quantised.is_int8(jax.tree.leaves(found.params)):
    raise errors.UserError(
      f"the {kind} in {name} holds int8 weights, which cannot be trained: "
      "start from one that was trained, or converted with --dtype bfloat16"
    )
  return found


def _check_size(
  config: run_config.RunConfig, kind: str, metadata: Mapping[str, Any]
) -> None:
  size = metadata.get("size")
  # Published autoencoders serve several sizes.
  if config.size not in metadata.get("sizes", [size]):
    raise errors.UserError(
      f"the {kind} in {getattr(config.init_from, kind)} has size {size}, this "
      f"run has {config.size}: name a workdir of the same size"
    )
