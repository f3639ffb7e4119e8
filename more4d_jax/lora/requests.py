"""LoRA files that a user names for the networks of a checkpoint."""

import dataclasses
import math
import os
from collections.abc import Mapping, Sequence

from more4d_jax import errors, registry
from more4d_jax.checkpoints import dtypes, store, stored_arrays
from more4d_jax.lora import dialects
from more4d_jax.models import lora as lora_lib
from more4d_jax.models import lora_beside, lora_merging, quantised
from more4d_jax.name_maps import matching

# Those with a transformer; the first is meant where none is named.
KINDS = tuple(reversed(registry.SAMPLED))


@dataclasses.dataclass(frozen=True)
class Request:
  """A LoRA that was read, and where it goes.

  Attributes:
    kind: of network, one of KINDS.
    file: as the user wrote it.
    found: what the file holds.
    weight: how much of it is applied.
  """

  kind: str
  file: str
  found: dialects.Found
  weight: float


def parse(texts: Sequence[str]) -> list[Request]:
  """Reads "[NETWORK=]FILE[:WEIGHT]" texts.

  The network is `vism` unless it is named, the weight 1. A file may have = and
  : in its name: a text that is a file is that file.

  Raises:
    UserError: for an unknown network, a weight that is no number, no file, or
      a file that holds no LoRA of the transformer.
  """
  return [_parse_one(text) for text in texts]


def names_file(text: str) -> bool:
  """Whether a text, read as `parse` does, names a file that exists."""
  return os.path.isfile(_parts(text)[1])


def _parts(text: str) -> tuple[str, str, str]:
  """Network, file and weight of a text; the last empty where it has none."""
  named, equals, after = text.partition("=")
  readings = [(KINDS[0], text), *([(named, after)] if equals else [])]
  for kind, rest in readings:
    file, colon, number = rest.rpartition(":")
    if os.path.isfile(rest):
      return kind, rest, ""
    if colon and os.path.isfile(file):
      return kind, file, number or "nothing"
  return (kind, file, number or "nothing") if colon else (kind, rest, "")


def _parse_one(text: str) -> Request:
  kind, file, number = _parts(text)
  if kind not in KINDS:
    raise errors.UserError(
      f"--lora {text}: expected {' or '.join(KINDS)} before =, found {kind!r}"
    )
  if not number:
    return Request(kind, file, dialects.load(file), 1.0)
  try:
    weight = float(number)
  except ValueError:
    weight = math.nan
  if not math.isfinite(weight):
    raise errors.UserError(
      f"--lora {text}: expected a number after the last colon, found {number!r}"
    )
  return Request(kind, file, dialects.load(file), weight)


def open_networks(
  checkpoint: str | os.PathLike[str],
  asked: Sequence[Request] = (),
  dtype: str | None = None,
) -> dict[str, store.Network]:
  """A checkpoint's networks, by kind, changed by its own LoRAs and others.

  No weight is read: casts and LoRAs are applied to each part of an array as it
  is read.

  Args:
    checkpoint: a bundle.
    asked: LoRAs beside its own.
    dtype: see `dtypes`; None as the checkpoint has it.

  Raises:
    UserError: if it is no bundle, or a damaged one, or a LoRA does not fit.
  """
  dtypes.check(dtype)
  own = [
    Request(kind, path.name, dialects.load(path), 1.0)
    for kind, path in store.loras_of(checkpoint).items()
  ]
  found = store.open_bundle(checkpoint)
  if dtype == "float32":  # LoRAs are added to the more exact weights.
    found = dtypes.cast(found, dtype)
  found = apply(found, [*own, *asked], beside=dtype == dtypes.INT8)
  return dtypes.cast(found, dtype) if dtype not in (None, "float32") else found


def _check_kind(kind: str, networks: Mapping[str, object]) -> None:
  if kind not in networks:
    raise errors.UserError(
      f"--lora is for the {kind} network, which the checkpoint does not "
      f"have; it has {', '.join(networks) or 'none'}"
    )


def apply(
  networks: Mapping[str, store.Network],
  requests: Sequence[Request],
  *,
  beside: bool = False,
) -> dict[str, store.Network]:
  """Adds LoRAs to transformers as these are read, or puts them beside.

  Low-rank changes stand beside int8 kernels, whose steps could be larger than
  what they change.

  Args:
    networks: by kind; left as they are.
    requests: in any order; the changes of one network add up.
    beside: puts them beside kernels that will become int8, too.

  Returns: the networks, with `loras` in the metadata of the changed ones: for
    each file its weight, the number of linear maps that it changes by low-rank
    products, and of parameters that it changes by full differences.

  Raises:
    UserError: if there is no such network, or a LoRA does not fit it. Reading
      raises it if values become too large for their type.
  """
  result = dict(networks)
  for kind in {request.kind: None for request in requests}:
    _check_kind(kind, networks)
    mine = [request for request in requests if request.kind == kind]
    network = networks[kind]
    dit, config = network.params["dit"], network.config.dit
    weighted = [lora_lib.Weighted(r.found.lora, r.weight) for r in mine]
    flat, added = matching.flatten(dit), {}
    if beside or quantised.is_int8(flat.values()):
      weighted, pairs = lora_beside.apart(weighted)
      added = lora_beside.variables(dit, pairs, config.layer.head_dim)
    merged = lora_merging.merged(dit, weighted, config.layer.head_dim)
    flat |= {k: stored_arrays.changed(flat[k], f) for k, f in merged.items()}
    for path, value in matching.flatten(added).items():
      flat[path] = value.astype(config.dtype)
    loras = [
      {
        "file": r.file,
        "weight": r.weight,
        "modules": len(r.found.lora.modules),
        "differences": len(r.found.lora.differences),
      }
      for r in mine
    ]
    result[kind] = dataclasses.replace(
      network,
      params={**network.params, "dit": matching.unflatten(flat)},
      metadata={**network.metadata, "loras": loras},
    )
  return result


def describe(request: Request) -> str:
  """What was read, in one line."""
  use = f" for {request.kind}, weight {request.weight:g}"
  return f"{request.file}: {dialects.describe(request.found, use)}"
