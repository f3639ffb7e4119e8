"""Networks of workdirs and bundles, copied into one bundle."""

import json
import os
import pathlib
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from more4d_jax import errors, locations
from more4d_jax.checkpoints import (
  directories,
  dtypes,
  headers,
  store,
  stored_arrays,
)
from more4d_jax.models import quantised
from more4d_jax.name_maps import matching

_Found = tuple[pathlib.Path, dict[str, Any]]  # A network and its header.


def bundle(
  workdirs: Sequence[str | os.PathLike[str]],
  out: str | os.PathLike[str],
  stored: np.dtype | None = None,
  about: Mapping[str, Any] | None = None,
) -> list[str]:
  """Copies the networks of workdirs and bundles into one checkpoint.

  Args:
    workdirs: training workdirs whose `model/` is finished, and bundles, as
      `more4d convert` makes them; a kind of network in one of them only.
    out: new directory for the bundle.
    stored: type that floating-point weights are stored in; None keeps theirs.
      What networks compute in does not change.
    about: what `store.about` of the bundle returns, JSON values.

  Returns: the kinds of networks in it.

  Raises:
    UserError: if a workdir has no trained network, two have the same kind, or
      a network was trained on another one than the one given.
  """
  final = locations.here(out, "the new bundle").absolute()
  if final.exists() and not (final / store.MODEL).is_file():
    raise errors.UserError(
      f"{final} exists and is no bundle: name a new directory for the bundle"
    )
  found, loras = _find(workdirs)
  _check_lineage({kind: header for kind, (_, header) in found.items()})
  with directories.new_directory(final) as temporary:
    for kind, (source, header) in found.items():
      _copy_network(source, temporary / kind, stored)
      for part in header.get("parts", {}).values():
        _copy_part(source.parent / part, temporary / part, stored)
    names = {k: f"{path.parent.name}/{path.name}" for k, path in loras.items()}
    for kind, path in loras.items():
      (temporary / names[kind]).parent.mkdir(exist_ok=True)
      shutil.copyfile(path, temporary / names[kind])
    store.write_model(temporary, {kind: kind for kind in found}, names, about)
  return list(found)


def _find(
  workdirs: Sequence[str | os.PathLike[str]],
) -> tuple[dict[str, _Found], dict[str, pathlib.Path]]:
  """Networks and LoRAs of workdirs and bundles, by kind."""
  found: dict[str, _Found] = {}
  loras: dict[str, pathlib.Path] = {}
  for workdir in workdirs:
    root = locations.here(workdir, "a workdir to bundle").absolute()
    places = [root / "model"]
    if (root / store.MODEL).is_file():
      places = [root / name for name in store.networks_of(root).values()]
      loras |= store.loras_of(root)
    for source in places:
      header = store.load_header(source)
      if header["kind"] in found:
        raise errors.UserError(
          f"{workdir} and {found[header['kind']][0].parent} both hold a "
          f"{header['kind']}: give one workdir of each kind"
        )
      found[header["kind"]] = (source, header)
  return found, loras


def _copy_network(
  source: pathlib.Path, target: pathlib.Path, stored: np.dtype | None
) -> None:
  """Copies a network, or a part, its weights perhaps in another type."""
  if stored is None or not (source / store.PARAMS).is_dir():
    shutil.copytree(source, target)
    return
  shutil.copytree(source, target, ignore=shutil.ignore_patterns(store.PARAMS))
  weights = matching.flatten(store.open_network(source).params)
  floats = dtypes.STORED.values()
  for path, array in weights.items():
    if array.dtype in floats and not quantised.is_scale(path):
      weights[path] = stored_arrays.cast(array, stored)
  store.save_params(target, matching.unflatten(weights))
  header = json.loads((source / store.NETWORK).read_text())
  metadata = header["metadata"]
  if "identity" in metadata:
    metadata["identity"] = _in_type(metadata["identity"], stored)
  if "trained_on" in metadata:
    metadata["trained_on"] = {
      kind: _in_type(identity, stored)
      for kind, identity in metadata["trained_on"].items()
    }
  headers.write(target / store.NETWORK, {**header, "format": headers.FORMAT})


def _in_type(identity: str, stored: np.dtype | None) -> str:
  """A network's identity with its weights in a type; None is its own.

  Other weights are another network, also to what was trained on it.
  """
  return identity if stored is None else f"{identity}-{stored.name}"


def _copy_part(
  source: pathlib.Path, target: pathlib.Path, stored: np.dtype | None
) -> None:
  """Copies a part once for all networks that share it."""
  if not target.exists():
    _copy_network(source, target, stored)
    return
  copied, own = (
    store.load_header(part)["metadata"]["identity"] for part in (target, source)
  )
  if copied != _in_type(own, stored):
    raise errors.UserError(
      f"{source} is another {target.name} than that of the other networks: "
      "bundle networks that share one"
    )


def _check_lineage(found: Mapping[str, Mapping[str, Any]]) -> None:
  """Refuses networks that were trained on other ones than those beside them."""
  for kind, header in found.items():
    for base, identity in header["metadata"].get("trained_on", {}).items():
      beside = found.get(base)
      if beside and beside["metadata"].get("identity") != identity:
        raise errors.UserError(
          f"the {kind} was trained on another {base} than the one given: "
          f"bundle the {base} it started from, or train the {kind} again"
        )
