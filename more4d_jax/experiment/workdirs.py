"""A workdir belongs to one configuration, which it holds as `config.json`."""

import contextlib
import fcntl
import json
import os
import pathlib
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import jax

from more4d_jax import errors, locations
from more4d_jax.experiment import config_reader, run_config

_ABSENT = object()
# Fields of older workdirs that did not change the result.
_FORMER = {"model.remat"}
_LOCK = "run.lock"  # Held, not only there, while a run is at work.
# In a bucket nothing can be held. A run that was killed is told from one at
# work by its silence, which a new one waits for.
_SIGN_SECONDS, _SILENT_SECONDS = 10.0, 45.0


@contextlib.contextmanager
def alone(workdir: locations.Location) -> Iterator[None]:
  """Keeps other runs out of a workdir for as long as this one lasts.

  A workdir that is still empty then is removed, as it was not there before.

  Raises:
    UserError: if another run, of this machine or of one that shares the file
      system, is at work in it.
  """
  if jax.process_index():  # The first process speaks for its run.
    yield
    return
  if not isinstance(workdir, pathlib.Path):
    with _alone_by_signs(workdir):
      yield
    return
  workdir.mkdir(parents=True, exist_ok=True)
  path = workdir / _LOCK
  with path.open("a+") as file:
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
      file.seek(0)
      raise _taken(workdir, file.read()) from error
    file.truncate(0)
    file.write(_name())
    file.flush()
    try:
      yield
    finally:
      if [other.name for other in workdir.iterdir()] == [_LOCK]:
        path.unlink()
        workdir.rmdir()


@contextlib.contextmanager
def _alone_by_signs(workdir: locations.Location) -> Iterator[None]:
  """As `alone` where nothing can be held: a run writes signs of its life."""
  path, ended = workdir / _LOCK, threading.Event()

  def sign() -> None:
    path.write_text(f"{_name()}, sign {secrets.token_hex(4)}")

  def keep_signing() -> None:
    while not ended.wait(_SIGN_SECONDS):
      sign()

  found = path.read_text() if path.is_file() else ""
  if found:
    time.sleep(_SILENT_SECONDS)
    now = path.read_text() if path.is_file() else ""
    if now not in ("", found):
      raise _taken(workdir, now.partition(",")[0])
  sign()
  thread = threading.Thread(target=keep_signing, daemon=True)
  thread.start()
  try:
    yield
  finally:
    ended.set()
    thread.join()
    path.unlink(missing_ok=True)


def _name() -> str:
  return f"process {os.getpid()} on {socket.gethostname()}"


def _taken(workdir: locations.Location, whose: str) -> errors.UserError:
  return errors.UserError(
    f"another run ({whose.strip()}) is at work in {workdir}: wait for its end, "
    "stop it, or use another --workdir"
  )


def check(
  config: run_config.RunConfig, workdir: str | os.PathLike[str]
) -> None:
  """Compares with the configuration that a workdir was started with, if any.

  A field that an older workdir does not name had its default there.

  Raises:
    UserError: if the workdir belongs to another configuration.
  """
  path = locations.path(workdir) / "config.json"
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
  path = locations.path(workdir) / "config.json"
  if path.exists():
    check(config, workdir)
    return
  if jax.process_index():
    return
  path.parent.mkdir(parents=True, exist_ok=True)
  temporary = path.with_suffix(".partial")
  text = json.dumps(config_reader.flat(config), indent=2, sort_keys=True)
  temporary.write_text(text + "\n")
  temporary.replace(path)
