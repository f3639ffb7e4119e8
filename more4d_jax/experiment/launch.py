"""What main.py starts, and how its process ends."""

import os
import sys
from collections.abc import Mapping
from typing import Any, NoReturn

from more4d_jax import errors
from more4d_jax.cli import flag_errors
from more4d_jax.experiment import config_reader, hosts, run
from more4d_jax.training import run_log, stopping


def launch(
  mode: str,
  values: Mapping[str, Any],
  workdir: str | os.PathLike[str] | None,
  devices: str | None,
  joining: tuple[str | None, int | None, int | None],
) -> NoReturn:
  """Joins the other processes, does what is asked, and exits.

  The exit status is 0 also after SIGTERM, by which clusters ask a run to make
  room: what it had made is saved.

  Args:
    mode: see `run.run`, as are the next ones.
    values: of a file of configs/.
    workdir: of the run.
    devices: to plan for.
    joining: arguments of `hosts.join`.
  """
  with hosts.leaving():
    try:
      config = config_reader.read(values)
      if mode != "plan":
        hosts.join(*joining)
      run.run(mode, config, workdir, devices)
    except (errors.UserError, run_log.NonFiniteError) as error:
      _fail(str(error))
    except OSError as error:
      _fail(flag_errors.describe_file(error))
    except stopping.Interrupted as request:
      print(request, file=sys.stderr)
      status = stopping.status_of(request.number)
      hosts.leave(status, wait=request.together)
    except KeyboardInterrupt:
      print("interrupted", file=sys.stderr)
      hosts.leave(130)
    hosts.leave(0)


def _fail(message: str) -> NoReturn:
  stopping.heed()  # What breaks after a request is broken by it.
  print(f"error: {' '.join(message.split())}", file=sys.stderr)
  hosts.leave(2)
