"""Networks that a run starts from or needs beside it."""

import os
import pathlib

import ml_collections

from more4d_jax import errors
from more4d_jax.checkpoints import store


def locate(directory: str | os.PathLike[str], kind: str) -> pathlib.Path:
  """Finds a network in a workdir, a bundle or its own directory.

  Raises:
    UserError: if there is none of this kind.
  """
  root = pathlib.Path(directory)
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


def load(
  config: ml_collections.ConfigDict, kind: str, *, needed: bool
) -> store.Network | None:
  """Loads the network named in `init_from`, or returns None.

  Args:
    config: the whole configuration.
    kind: of network.
    needed: whether the task cannot do without it.

  Raises:
    UserError: if it is needed and not named, absent, or of another size.
  """
  name = config.init_from[kind]
  if not name:
    if not needed:
      return None
    raise errors.UserError(
      f"a {config.task} needs a trained {kind}: add "
      f"--config.init_from.{kind}=WORKDIR"
    )
  network = store.load_network(locate(name, kind))
  size = network.metadata.get("size")
  # Published autoencoders serve several sizes.
  if config.size not in network.metadata.get("sizes", [size]):
    raise errors.UserError(
      f"the {kind} in {name} has size {size}, this run has {config.size}: "
      "name a workdir of the same size"
    )
  return network
