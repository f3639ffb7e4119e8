"""The JSON files beside weights, and the formats that versions wrote."""

import json
from collections.abc import Sequence
from typing import Any

from more4d_jax import errors, locations

# What changed with each format:
# 2: the transformers' rotated values lie half a head apart, see
#    `models.rotary_order`; in format 1 they are neighbours, which
#    `older_formats` brings to today's order as they are read.
# 3: kernels may be int8 with scales beside them, see `models.quantised`.
FORMAT = 3
READABLE = (1, 2, FORMAT)


def write(path: locations.Location, value: Any) -> None:
  """Writes JSON for people to read too."""
  path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n")


def read(
  path: locations.Location, what: str, advice: str, needed: Sequence[str]
) -> dict[str, Any]:
  """Reads a file of a known format.

  Args:
    path: of the file.
    what: it describes.
    advice: what a person can do if it is not there or not whole.
    needed: names in it.

  Raises:
    UserError: if it is absent, damaged, or of another format.
  """
  if not path.is_file():
    raise errors.UserError(
      f"expected {what} in {path.parent}, found no {path.name}: {advice}"
    )
  try:
    value = json.loads(path.read_text())
  except json.JSONDecodeError as error:
    raise errors.UserError(f"{path} is damaged ({error}): {advice}") from error
  if not isinstance(value, dict):
    raise errors.UserError(f"{path} holds no JSON object: {advice}")
  if value.get("format") not in READABLE:
    known = " or ".join(map(str, READABLE))
    raise errors.UserError(
      f"{path} has format {value.get('format')}, expected {known}: {advice}"
    )
  missing = [name for name in needed if name not in value]
  if missing:
    raise errors.UserError(f"{path} lacks {', '.join(missing)}: {advice}")
  return value
