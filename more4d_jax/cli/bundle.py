"""`more4d bundle`: trained networks to one checkpoint directory."""

import pathlib

from more4d_jax import errors
from more4d_jax.checkpoints import store


def bundle(*, workdir: str, out: pathlib.Path) -> None:
  """Copies the trained networks of several workdirs into one checkpoint.

  Args:
    workdir: training workdirs, separated by commas, one of each kind.
    out: new directory; `more4d generate --checkpoint` takes it.
  """
  workdirs = [name.strip() for name in workdir.split(",") if name.strip()]
  if not workdirs:
    raise errors.UserError(
      "expected training workdirs in --workdir, found none: give them as "
      "--workdir runs/video_vae,runs/strag,..."
    )
  store.bundle(workdirs, out)
  print(f"{len(workdirs)} networks in {out}")
