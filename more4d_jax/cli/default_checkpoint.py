"""What a command says where no --checkpoint is given."""

import pathlib

from more4d_jax.bundled import shipped


def say(checkpoint: pathlib.Path | None) -> None:
  """Names the checkpoint that is taken, unless one was given.

  Raises:
    UserError: if none ships either.
  """
  if checkpoint is None:
    print(shipped.describe(), flush=True)
