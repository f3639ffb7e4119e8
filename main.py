"""Trains, evaluates or plans one network from a configuration file.

python main.py --config=configs/strag.py:size=tiny --workdir=DIR
"""

import logging as python_logging
import sys
from collections.abc import Sequence

from absl import app, flags, logging
from ml_collections import config_flags

from more4d_jax.cli import flag_errors

_CONFIG = config_flags.DEFINE_config_file(
  "config", None, "configuration file, as in configs/strag.py:size=tiny"
)
_WORKDIR = flags.DEFINE_string(
  "workdir", None, "directory of the run; the same command again resumes"
)
_MODE = flags.DEFINE_enum(
  "mode", "train", ["train", "evaluate", "plan"], "what to do"
)
_DEVICES = flags.DEFINE_string(
  "devices", None, "of --mode=plan, as in v5p-64; this machine's if left out"
)
_COORDINATOR = flags.DEFINE_string(
  "coordinator", None, "HOST:PORT of process 0, where no cluster tells it"
)
_PROCESS = flags.DEFINE_integer("process", None, "number of this process")
_PROCESSES = flags.DEFINE_integer(
  "processes", None, "number of processes; 1: this machine alone"
)


def _run(_: Sequence[str]) -> None:
  from more4d_jax.experiment import launch

  if not flags.FLAGS["verbosity"].present:
    logging.set_verbosity(logging.WARNING)  # Of the libraries.
    python_logging.getLogger("more4d_jax").setLevel(python_logging.INFO)
  joining = (_COORDINATOR.value, _PROCESS.value, _PROCESSES.value)
  work = (_MODE.value, _CONFIG.value, _WORKDIR.value, _DEVICES.value)
  launch.launch(*work, joining)


def _parse(arguments: list[str]) -> list[str]:
  """Parses flags; a mistake in one of them is one line."""
  try:
    rest = flags.FLAGS(arguments)
    if _CONFIG.value is None:
      raise ValueError(
        "expected --config=FILE, found none: give one of configs/, as in "
        "--config=configs/strag.py:size=tiny"
      )
    _CONFIG.value.lock()  # Raises if the file could not be read.
    if _MODE.value != "plan" and _WORKDIR.value is None:
      raise ValueError("expected --workdir=DIR, found none: name one")
  except flag_errors.MISTAKES as error:
    print(f"error: {flag_errors.describe(error, arguments)}", file=sys.stderr)
    sys.exit(2)
  return rest


if __name__ == "__main__":
  app.run(_run, flags_parser=_parse)
