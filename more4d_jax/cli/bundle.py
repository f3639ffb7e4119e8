"""`more4d bundle`: trained networks to one checkpoint directory."""

import json
import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from more4d_jax import errors
from more4d_jax.checkpoints import bundling, dtypes, store
from more4d_jax.cli import lists, outputs


def bundle(
  *,
  workdir: lists.Words,
  out: pathlib.Path,
  dtype: Literal["bfloat16", "float16", "float32"] | None = None,
  figures: pathlib.Path | None = None,
) -> None:
  """Copies the networks of workdirs and checkpoints into one checkpoint.

  Args:
    workdir: training workdirs, and directories that bundle or convert made;
      each kind of network in one of them.
    out: new directory; `more4d generate --checkpoint` takes it. A bundle that
      is there is replaced.
    dtype: what weights are stored in; as they are when left out. What
      networks compute in stays.
    figures: JSON file that `more4d evaluate --out` wrote of these networks. It
      becomes part of the bundle, and is printed beside the figures of the one
      that is replaced.
  """
  workdirs = lists.items(workdir, os.path.isdir, "--workdir")
  if not workdirs:
    raise errors.UserError(
      "expected training workdirs in --workdir, found none: give them as "
      "--workdir runs/video_vae runs/strag ..."
    )
  outputs.check_folder(out)
  about = {} if figures is None else _read(figures)
  if about:
    old = store.about(out) if (out / store.MODEL).is_file() else {}
    for line in compared(about["figures"], old.get("figures", {})):
      print(line)
  stored = None if dtype is None else dtypes.STORED[dtype]
  kinds = bundling.bundle(workdirs, out, stored, about)
  size = sum(p.stat().st_size for p in out.rglob("*") if p.is_file())
  print(f"{len(kinds)} networks in {out}, {size / 1e6:.1f} MB")


def _read(path: pathlib.Path) -> dict[str, Any]:
  """What `more4d evaluate` wrote.

  Raises:
    UserError: if it is something else.
  """
  try:
    found = json.loads(path.read_text())
    figures = found["figures"]
    if not all(isinstance(group, dict) for group in figures.values()):
      raise TypeError("groups are no objects")
  except (ValueError, KeyError, TypeError, AttributeError) as error:
    raise errors.UserError(
      f"expected figures in {path}, found none ({error}): make it with "
      "`more4d evaluate --out`"
    ) from error
  return {name: found[name] for name in ("split", "seed") if name in found} | {
    "figures": figures
  }


def compared(
  new: Mapping[str, Mapping[str, float | None]],
  old: Mapping[str, Mapping[str, float | None]],
) -> Iterator[str]:
  """A table of figures beside those of an older bundle.

  Args:
    new: group -> figure -> value.
    old: the like; empty if there is none.

  Yields: its lines.
  """
  yield f"{'figure':<40}{'new':>12}{'old':>12}"
  for group in [*new, *(name for name in old if name not in new)]:
    ours, theirs = new.get(group, {}), old.get(group, {})
    for name in [*ours, *(name for name in theirs if name not in ours)]:
      values = [_number(found.get(name)) for found in (ours, theirs)]
      yield f"{group + '/' + name:<40}{values[0]:>12}{values[1]:>12}"


def _number(value: float | None) -> str:
  return "-" if value is None else f"{value:.4g}"
