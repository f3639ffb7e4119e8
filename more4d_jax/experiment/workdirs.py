"""A workdir belongs to one configuration, which it holds as `config.json`."""

import contextlib
import fcntl
import json
import os
import pathlib
import socket
from collections.abc import Iterator
from typing import Any

import jax

from more4d_jax import errors
from more4d_jax.experiment import config_reader, run_config

_ABSENT = object()
# Fields of older workdirs that did not change the result.
_FORMER = {"model.remat"}
_LOCK = "run.lock"  # Held, not only there, while a run is at work.


@contextlib.contextmanager
def alone(workdir: pathlib.Path) -> Iterator[None]:
  """Keeps other runs out of a workdir for as long as this one lasts.

  A workdir that is still empty then is removed, as it was not there before.

  Raises:
    UserError: if another run, of this machine or of one that shares the file
      system, is at work in it.
  """
  if jax.process_index():  # The first process speaks for its run.
    yield
    return
  workdir.mkdir(parents=True, exist_ok=True)
  path = workdir / _LOCK
  with path.open("a+") as file:
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
      file.seek(0)
      raise errors.UserError(
        f"another run ({file.read().strip()}) is at work in {workdir}: wait "
        "for its end, stop it, or use another --workdir"
      ) from error
    file.truncate(0)
    file.write(f"process {os.getpid()} on {socket.gethostname()}")
    file.flush()
    try:
      yield
    finally:
      if [other.name for other in workdir.iterdir()] == [_LOCK]:
        path.unlink()
        workdir.rmdir()


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
  free = {*config_reader.may_change(config), *_FORMER}
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
  if jax.process_index():
    return
  path.parent.mkdir(parents=True, exist_ok=True)
  temporary = path.with_suffix(".partial")
  text = json.dumps(config_reader.flat(config), indent=2, sort_keys=True)
  temporary.write_text(text + "\n")
  os.replace(temporary, path)
