"""Runs `python -m tests.parity DIR [FOLDER ...]`."""

import argparse
import pathlib
import sys

from tests.parity import runner


def main() -> int:
  """Parses arguments and runs; returns the exit status."""
  parser = argparse.ArgumentParser(prog="python -m tests.parity")
  parser.add_argument("directory", type=pathlib.Path)
  parser.add_argument("folders", nargs="*", help="run these only")
  arguments = parser.parse_args()
  if not (arguments.directory / "bounds.json").is_file():
    parser.error(
      f"{arguments.directory} holds no bounds.json: give the directory that "
      "holds the folders of stored arrays"
    )
  return runner.run_directory(arguments.directory, tuple(arguments.folders))


if __name__ == "__main__":
  sys.exit(main())
