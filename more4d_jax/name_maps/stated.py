"""Numbers that a config.json beside published weights states."""

from collections.abc import Mapping
from typing import Any

from more4d_jax import errors


def number(
  values: Mapping[str, Any], name: str, low: float | int, high: float | int
) -> float | int | None:
  """A number of a configuration, None if it is not there.

  Raises:
    UserError: if it is no number between `low` and `high`.
  """
  value = values.get(name)
  if value is None:
    return None
  is_number = isinstance(value, int | float) and not isinstance(value, bool)
  if not is_number or not low <= value <= high:
    raise errors.UserError(
      f"config.json states {name} {str(value)[:40]!r}, expected a number of "
      f"{low:g} to {high:g}: use the one published with the weights"
    )
  return value


def count(
  values: Mapping[str, Any], name: str, low: int, high: int
) -> int | None:
  """As `number`, a whole one."""
  value = number(values, name, low, high)
  if value is not None and value != int(value):
    raise errors.UserError(
      f"config.json states {name} {value}, expected a whole number: use the "
      "one published with the weights"
    )
  return None if value is None else int(value)
