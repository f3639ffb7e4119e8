"""`more4d data cache`: what frozen networks make of records, ahead of time."""

import math
import pathlib
import re
from typing import Any

from more4d_jax import errors, locations
from more4d_jax.cli import lists, outputs


def cache(
  *,
  config: str,
  out: str,
  set: lists.Words = (),
  share: str = "1/1",
  check: bool = False,
  dry_run: bool = False,
) -> None:
  """Latents and features for a training of 4D-STraG or 4D-ViSM, made once.

  The training finds them with data.cache=OUT and loads no encoder. The same
  command again continues; a part is there whole or not at all.

  Args:
    config: the training, as in configs/strag.py:size=1p3b.
    out: folder of caches; each has a name that follows from records, networks,
      tokenizer and settings.
    set: fields of the configuration, as in data.records=DIR
      init_from.motion_vae=DIR.
    share: K/N makes only the K-th of N shares, for machines that fill one
      folder together without knowing of each other.
    check: compare hashes of what is there, and make again what is damaged.
    dry_run: print the bytes of a record, by what holds them, and make nothing.
  """
  from more4d_jax.cli import plan
  from more4d_jax.experiment import condition_task, run

  fields = lists.items(set, lambda text: "=" in text, "--set")
  task = run.make_task(plan.read_config(config, fields))
  if not isinstance(task, condition_task.ConditionTask) or not task.cached:
    raise errors.UserError(
      f"{config} trains on records as they are: expected a configuration of "
      "strag or vism with data.conditions=cached"
    )
  mine = _share(share)
  task = task.with_cache(out)
  _print_bytes(task)
  if dry_run:
    return
  folder = locations.path(out)
  if isinstance(folder, pathlib.Path):
    outputs.check_folder(folder)
  locations.check_writable(folder)
  found = task.make_caches(task.open(folder), mine, check)
  for made in found:
    _print_made(made)


def _share(text: str) -> tuple[int, int]:
  """Reads "2/8" as (1, 8).

  Raises:
    UserError: if it says no share.
  """
  match = re.fullmatch(r"(\d+)/(\d+)", text)
  number, count = map(int, match.groups()) if match else (0, 0)
  if not 1 <= number <= count:
    raise errors.UserError(
      f"--share is {text!r}: expected K/N with K from 1 to N, as in 2/8"
    )
  return number - 1, count


def _print_bytes(task: Any) -> None:
  """What an example takes, by shape; captions in full length."""
  variant, total = task.variant, 0
  for name, leaf in sorted(task.example.items()):
    size = math.prod(leaf.shape) * leaf.dtype.itemsize
    total += size
    shape = " x ".join(map(str, leaf.shape))
    print(f"  {name:20s} {shape:18s} {leaf.dtype.name:8s} {size:12,d} bytes")
  print(
    f"{task.kind} {variant.name}, {variant.frames}x{variant.height}x"
    f"{variant.width}: at most {total:,d} bytes an example; rows of a caption "
    "beyond its tokens are not stored"
  )


def _print_made(made: Any) -> None:
  text = f"{made.job.directory}: {made.job.count:,d} examples"
  if not made.examples:
    print(f"{text}; nothing was missing of this share")
    return
  rate = made.examples / made.seconds
  print(
    f"{text}; {made.examples:,d} made in {made.seconds:.1f} s, {rate:.2f} a "
    f"second; {made.bytes / made.examples:,.0f} bytes each"
  )
