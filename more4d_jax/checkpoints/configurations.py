"""Configurations of networks as JSON."""

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any

from more4d_jax import errors

# Field -> what older versions wrote -> what it means today.
_OLDER = {"remat": {False: "none", True: "full"}}


def _value_from_json(annotation: Any, value: Any) -> Any:
  origin = typing.get_origin(annotation)
  if origin in (typing.Union, types.UnionType):
    if value is None:
      return None
    inner = [a for a in typing.get_args(annotation) if a is not type(None)]
    return _value_from_json(inner[0], value)
  if dataclasses.is_dataclass(annotation):
    return from_json(annotation, value)
  if origin is tuple or annotation is tuple:
    kinds = typing.get_args(annotation)
    inner = kinds[0] if kinds else Any
    return tuple(_value_from_json(inner, v) for v in value)
  return value


def from_json(cls: type, values: Mapping[str, Any]) -> Any:
  """Rebuilds a configuration dataclass from `dataclasses.asdict` as JSON.

  Raises:
    UserError: if a field is unknown to this version.
  """
  hints = typing.get_type_hints(cls)
  names = {field.name for field in dataclasses.fields(cls)}
  unknown = sorted(set(values) - names)
  if unknown:
    raise errors.UserError(
      f"{cls.__name__} has no field {unknown[0]!r}: the checkpoint was "
      "written by another version; train or convert it again"
    )
  return cls(
    **{
      key: _value_from_json(hints[key], _OLDER.get(key, {}).get(v, v))
      if isinstance(v, bool)
      else _value_from_json(hints[key], v)
      for key, v in values.items()
    }
  )
