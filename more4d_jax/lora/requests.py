"""LoRA files that a user names for the networks of a checkpoint."""

import dataclasses
import math
import os
from collections.abc import Mapping, Sequence

from more4d_jax import errors
from more4d_jax.checkpoints import store
from more4d_jax.lora import dialects
from more4d_jax.models import lora as lora_lib

KINDS = ("vism", "strag")


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


def apply(
  networks: Mapping[str, store.Network], requests: Sequence[Request]
) -> dict[str, store.Network]:
  """Merges LoRAs into the transformers of networks.

  Args:
    networks: by kind; left as they are.
    requests: in any order; the changes of one network add up.

  Returns: the networks, with `loras` in the metadata of the changed ones: for
    each file its weight and the number of modules that it changed.

  Raises:
    UserError: if there is no such network, or a LoRA does not fit it.
  """
  result = dict(networks)
  for kind in {request.kind: None for request in requests}:
    if kind not in networks:
      raise errors.UserError(
        f"--lora is for the {kind} network, which the checkpoint does not "
        f"have; it has {', '.join(networks) or 'none'}"
      )
    mine = [request for request in requests if request.kind == kind]
    network = networks[kind]
    dit, counts = lora_lib.merge(
      network.params["dit"],
      [lora_lib.Weighted(r.found.lora, r.weight) for r in mine],
      network.config.dit.layer.head_dim,
    )
    loras = [
      {"file": r.file, "weight": r.weight, "modules": count}
      for r, count in zip(mine, counts, strict=True)
    ]
    result[kind] = dataclasses.replace(
      network,
      params={**network.params, "dit": dit},
      metadata={**network.metadata, "loras": loras},
    )
  return result


def describe(request: Request) -> str:
  """What was read, in one line."""
  found = request.found
  line = (
    f"{request.file}: {len(found.lora.modules)} modules for {request.kind}, "
    f"weight {request.weight:g}, names of the style {found.style}"
  )
  if found.left_out:
    line += f"; {found.left_out} tensors of a text-encoder LoRA are left out"
  return line
