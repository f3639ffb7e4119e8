"""The processes of one run: how they find each other, and how they leave.

A process that has nothing more to say must not wait for the others, nor they
for it: an error ends its process at once, which the others notice by a broken
connection, or after `HEARTBEAT_SECONDS` without a sign of life.
"""

import contextlib
import socket
import sys
import time
import traceback
from collections.abc import Iterator
from typing import NoReturn

import jax

from more4d_jax import errors
from more4d_jax.training import stopping

HEARTBEAT_SECONDS = 60
START_SECONDS = 300  # Machines of one job may start minutes apart.


def join(
  coordinator: str | None = None,
  process: int | None = None,
  processes: int | None = None,
  *,
  patience: float = START_SECONDS,
) -> None:
  """Joins the other processes of this run, if there are any.

  Without arguments jax finds them on TPU pods, under Slurm, Open MPI and
  Kubernetes; on a machine by itself nothing happens. It must be called before
  anything asks for devices.

  Args:
    coordinator: "HOST:PORT" of process 0.
    process: number of this one.
    processes: how many there are; 1 looks for no others.
    patience: seconds to wait for the coordinator.

  Raises:
    UserError: for arguments that do not fit together, a coordinator that
      cannot be reached, or a cluster that does not say who is who.
  """
  if processes == 1 and not coordinator:
    return
  given = (coordinator, process, processes)
  if any(value is not None for value in given):
    _check(*given)
    if process:
      _reach(coordinator, patience)
  # Signals are `stopping`'s, which would never hear of them.
  jax.config.update("jax_enable_preemption_service", False)
  try:
    jax.distributed.initialize(
      *(coordinator, processes, process),
      cluster_detection_method="deactivate" if coordinator else None,
      initialization_timeout=int(patience),
      heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
      shutdown_timeout_seconds=2 * HEARTBEAT_SECONDS,
    )
  except (RuntimeError, ValueError, OSError, KeyError, TypeError) as error:
    # What jax raises where it finds no cluster.
    if not coordinator and "coordinator_address should be" in str(error):
      return
    raise errors.UserError(
      f"the processes of this run could not find each other ({error}): name "
      "them with --coordinator=HOST:PORT --process=NUMBER --processes=COUNT, "
      "or run on this machine alone with --processes=1"
    ) from error


def _check(
  coordinator: str | None, process: int | None, processes: int | None
) -> None:
  if coordinator is None or process is None or processes is None:
    raise errors.UserError(
      "expected --coordinator, --process and --processes together, found "
      f"{coordinator}, {process} and {processes}: give all three, or none "
      "where TPU pods, Slurm or Kubernetes tell them"
    )
  host, _, port = coordinator.rpartition(":")
  if not host or not port.isdigit():
    raise errors.UserError(
      f"--coordinator is {coordinator!r}: expected HOST:PORT of process 0, as "
      "in 10.0.0.1:1234"
    )
  if not 0 <= process < processes:
    raise errors.UserError(
      f"--process is {process}: expected 0 to {processes - 1}, as --processes "
      f"is {processes}"
    )


def _reach(coordinator: str, patience: float) -> None:
  """Waits until the coordinator listens; jax would end the process instead."""
  host, _, port = coordinator.rpartition(":")
  end = time.monotonic() + patience
  while True:
    try:
      with socket.create_connection((host.strip("[]"), int(port)), timeout=5):
        return
    except OSError as error:
      if time.monotonic() > end:
        raise errors.UserError(
          f"no coordinator answers at {coordinator} after {patience:.0f} s "
          f"({error}): start process 0 there, and let the network pass that "
          "port"
        ) from error
    time.sleep(0.2)


@contextlib.contextmanager
def leaving() -> Iterator[None]:
  """Ends this process at once where an error would keep the others waiting.

  Of a run by itself nothing changes.
  """
  try:
    yield
  except BaseException as error:
    if isinstance(error, SystemExit) or jax.process_count() == 1:
      raise
    stopping.heed()  # What breaks after a request is broken by it.
    traceback.print_exc()
    lines = str(error).splitlines() or [type(error).__name__]
    print(
      f"error: process {jax.process_index()} of {jax.process_count()} ends: "
      f"{lines[0]}; where a connection broke another process has ended, whose "
      "output tells why. The same command goes on from the newest checkpoint",
      file=sys.stderr,
    )
    leave(1)


def leave(status: int, *, wait: bool | None = None) -> NoReturn:
  """Exits.

  Args:
    status: not 0 after an error.
    wait: whether the other processes come to this place too; after an error
      nobody waits for them unless this says so.
  """
  together = status == 0 if wait is None else wait
  if together or jax.process_count() == 1:
    sys.exit(status)
  stopping.end_now(status)
