"""`more4d bundle`: trained networks to one checkpoint directory."""

import pathlib

from more4d_jax import errors
from more4d_jax.checkpoints import store


def bundle(*, workdir: str, out: pathlib.Path) -> None:
  """Copies the networks of workdirs and checkpoints into one checkpoint.

  Args:
    workdir: training workdirs, and directories that bundle or convert made,
      separated by commas; each kind of network in one of them.
    out: new directory; `more4d generate --checkpoint` takes it.
  """
  workdirs = [name.strip() for name in workdir.split(",") if name.strip()]
  if not workdirs:
    raise errors.UserError(
      "expected training workdirs in --workdir, found none: give them as "
      "--workdir runs/video_vae,runs/strag,..."
    )
  kinds = store.bundle(workdirs, out)
  print(f"{len(kinds)} networks in {out}")
