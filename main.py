"""Trains, evaluates or plans one network from a configuration file.

python main.py --config=configs/strag.py:size=tiny --workdir=DIR
"""

import logging as python_logging
import sys
from collections.abc import Sequence

from absl import app, flags, logging
from ml_collections import config_flags

from more4d_jax import errors
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


def _run(_: Sequence[str]) -> int:
  from more4d_jax.experiment import config_reader, run
  from more4d_jax.training import loop

  if not flags.FLAGS["verbosity"].present:
    logging.set_verbosity(logging.WARNING)  # Of the libraries.
    python_logging.getLogger("more4d_jax").setLevel(python_logging.INFO)
  try:
    config = config_reader.read(_CONFIG.value)
    run.run(_MODE.value, config, _WORKDIR.value, _DEVICES.value)
  except (errors.UserError, loop.NonFiniteLossError) as e:
    return _fail(e)
  except OSError as e:
    return _fail(flag_errors.describe_file(e))
  except (loop.Interrupted, KeyboardInterrupt) as e:
    print(str(e) or "interrupted", file=sys.stderr)
    return 130
  return 0


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
    sys.exit(_fail(flag_errors.describe(error, arguments)))
  return rest


def _fail(message: Exception | str) -> int:
  print(f"error: {' '.join(str(message).split())}", file=sys.stderr)
  return 2


if __name__ == "__main__":
  app.run(_run, flags_parser=_parse)
