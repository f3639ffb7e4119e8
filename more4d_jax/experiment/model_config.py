"""Changes to the nested configuration of a network."""

import dataclasses
from typing import Any


def replace_fields(model: Any, **changes: Any) -> Any:
  """Sets fields in a nested configuration wherever a dataclass has them."""
  values = {}
  for field in dataclasses.fields(model):
    value = getattr(model, field.name)
    if field.name in changes:
      values[field.name] = changes[field.name]
    elif dataclasses.is_dataclass(value):
      values[field.name] = replace_fields(value, **changes)
  return dataclasses.replace(model, **values)


def portable(network: Any) -> Any:
  """A network's configuration without what suits one machine only."""
  return replace_fields(
    network, attention="auto", context_attention="ring", norm_rotary="auto"
  )
