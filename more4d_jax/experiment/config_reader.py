"""A configuration file's values to one frozen, checked `RunConfig`.

It happens once, when a run begins; afterwards everyone takes the piece that
they need. The fields, their types and their ranges stand in the dataclasses
alone.
"""

import dataclasses
import difflib
import math
import typing
from collections.abc import Iterator, Mapping
from typing import Any

import ml_collections

from more4d_jax import errors, registry
from more4d_jax.experiment import run_config

_WORDS = {
  bool: "True or False",
  int: "a whole number",
  float: "a number",
  str: "a text",
}


def read(
  values: Mapping[str, Any] | ml_collections.ConfigDict,
) -> run_config.RunConfig:
  """Makes the configuration of a run.

  Args:
    values: what a file of configs/ gives, or a nested mapping.

  Returns: an instance of the `config_class` of the task that it names.

  Raises:
    UserError: for a field that is unknown, missing, of another type or out of
      range.
  """
  if isinstance(values, ml_collections.ConfigDict):
    values = values.to_dict()
  task = values.get("task")
  if task not in registry.NETWORKS:
    raise errors.UserError(
      f"task is {task!r}: choose one of {', '.join(registry.NETWORKS)}"
    )
  return build(registry.NETWORKS[task].task_class.config_class, values)


def build(cls: type, values: Mapping[str, Any], prefix: str = "") -> Any:
  """Makes one dataclass of a mapping with its fields.

  Args:
    cls: frozen dataclass; its fields are numbers, texts and such dataclasses.
    values: by name; what is absent has the default of the dataclass.
    prefix: of the names in messages, as "optimizer.".

  Raises:
    UserError: see `read`.
  """
  hints = typing.get_type_hints(cls)
  fields = {field.name: field for field in dataclasses.fields(cls)}
  for name in values:
    if name not in fields:
      raise errors.UserError(unknown(name, fields, prefix))
  found = {}
  for name, field in fields.items():
    label = f"{prefix}{name}"
    if name not in values:
      if field.default is dataclasses.MISSING:
        raise errors.UserError(
          f"the config has no field {label!r}: state it, as the files of "
          "configs/ do"
        )
      continue
    found[name] = _value(field, hints[name], values[name], label)
  try:
    return cls(**found)
  except ValueError as error:
    raise errors.UserError(_labelled(str(error), fields, prefix)) from error


def unknown(name: str, known: Mapping[str, Any], prefix: str = "") -> str:
  """What to tell about a field that there is not."""
  near = difflib.get_close_matches(name, list(known), n=1)
  advice = f"did you mean {prefix}{near[0]}" if near else "leave it out"
  return (
    f"unknown config field {prefix}{name!s}: {advice}? The fields here are "
    f"{', '.join(known)}"
  )


def _labelled(message: str, fields: Mapping[str, Any], prefix: str) -> str:
  """A dataclass's complaint with the section that it is about."""
  if message.split(" ")[0] in fields:
    return f"{prefix}{message}"
  return f"section {prefix.rstrip('.')}: {message}" if prefix else message


def _value(field: dataclasses.Field, kind: Any, value: Any, label: str) -> Any:
  """One field's value, of its type and in its range."""
  if dataclasses.is_dataclass(kind):
    if not isinstance(value, Mapping):
      raise errors.UserError(
        f"{label} is {value!r}: expected a section with fields"
      )
    return build(kind, value, f"{label}.")
  if kind is float and type(value) is int:
    value = float(value)
  if type(value) is not kind:
    raise errors.UserError(f"{label} is {value!r}: expected {_WORDS[kind]}")
  limits = field.metadata.get("limits", run_config.Limits())
  if limits.choices and value not in limits.choices:
    raise errors.UserError(
      f"{label} is {value!r}: choose one of {', '.join(limits.choices)}"
    )
  if kind in (int, float) and not limits.low <= value <= limits.high:
    expected = f"at least {limits.low:g}"
    if limits.high < math.inf:
      expected = f"{limits.low:g} to {limits.high:g}"
    raise errors.UserError(f"{label} is {value}: expected {expected}")
  return value


def flat(config: Any, prefix: str = "") -> dict[str, Any]:
  """Every value by its dotted name, as "optimizer.clip"."""
  found: dict[str, Any] = {}
  for field in dataclasses.fields(config):
    value, name = getattr(config, field.name), f"{prefix}{field.name}"
    if dataclasses.is_dataclass(value):
      found |= flat(value, f"{name}.")
    else:
      found[name] = value
  return found


def defaults(config: Any, prefix: str = "") -> dict[str, Any]:
  """The defaults that the dataclasses have, by dotted name."""
  found: dict[str, Any] = {}
  for field in dataclasses.fields(config):
    value, name = getattr(config, field.name), f"{prefix}{field.name}"
    if dataclasses.is_dataclass(value):
      found |= defaults(value, f"{name}.")
    elif field.default is not dataclasses.MISSING:
      found[name] = field.default
  return found


def may_change(config: Any, prefix: str = "") -> Iterator[str]:
  """Dotted names of what a later start of the same run may change."""
  for field in dataclasses.fields(config):
    value, name = getattr(config, field.name), f"{prefix}{field.name}"
    free = field.metadata.get("may_change", False)
    if dataclasses.is_dataclass(value):
      inner = flat(value, f"{name}.") if free else may_change(value, f"{name}.")
      yield from inner
    elif free:
      yield name
