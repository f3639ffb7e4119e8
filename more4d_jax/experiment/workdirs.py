"""A workdir belongs to one configuration, which it holds as `config.json`."""

import json
import os
import pathlib
from typing import Any

from more4d_jax import errors
from more4d_jax.experiment import config_reader, run_config

_ABSENT = object()


def check(
  config: run_config.RunConfig, workdir: str | os.PathLike[str]
) -> None:
  """Compares with the configuration that a workdir was started with, if any.

  A field that an older workdir does not name had its default there.

  Raises:
    UserError: if the workdir belongs to another configuration.
  """
  path = pathlib.Path(workdir) / "config.json"
  if not path.exists():
    return
  mine = config_reader.flat(config)
  found = {**config_reader.defaults(config), **json.loads(path.read_text())}
  free = set(config_reader.may_change(config))
  if config.optimizer.schedule == "constant":
    free.add("num_steps")
  for name in sorted({*mine, *found} - free):
    here, there = mine.get(name, _ABSENT), found.get(name, _ABSENT)
    if here != there:
      raise errors.UserError(
        f"{workdir} holds a run of another config: {name} is {_shown(there)} "
        f"there and {_shown(here)} here; use another --workdir or the config "
        "it was started with"
      )


def _shown(value: Any) -> str:
  return "absent" if value is _ABSENT else repr(value)


def claim(
  config: run_config.RunConfig, workdir: str | os.PathLike[str]
) -> None:
  """Writes `config.json`, or compares with the one that is there.

  Raises:
    UserError: if the workdir belongs to another configuration.
  """
  path = pathlib.Path(workdir) / "config.json"
  if path.exists():
    check(config, workdir)
    return
  path.parent.mkdir(parents=True, exist_ok=True)
  temporary = path.with_suffix(".partial")
  text = json.dumps(config_reader.flat(config), indent=2, sort_keys=True)
  temporary.write_text(text + "\n")
  os.replace(temporary, path)
