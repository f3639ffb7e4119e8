"""`more4d bundle`: trained networks to one checkpoint directory."""

import os
import pathlib

from more4d_jax import errors
from more4d_jax.checkpoints import store
from more4d_jax.cli import lists, outputs


def bundle(*, workdir: lists.Words, out: pathlib.Path) -> None:
  """Copies the networks of workdirs and checkpoints into one checkpoint.

  Args:
    workdir: training workdirs, and directories that bundle or convert made;
      each kind of network in one of them.
    out: new directory; `more4d generate --checkpoint` takes it.
  """
  workdirs = lists.items(workdir, os.path.isdir, "--workdir")
  if not workdirs:
    raise errors.UserError(
      "expected training workdirs in --workdir, found none: give them as "
      "--workdir runs/video_vae runs/strag ..."
    )
  outputs.check_folder(out)
  kinds = store.bundle(workdirs, out)
  print(f"{len(kinds)} networks in {out}")
