"""The films of scenes that `more4d generate` made, and their prompts."""

import dataclasses
import json
import pathlib
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import UInt8

from more4d_jax import errors

_SUMMARY = "summary.json"
_BARE = "_points.mp4"  # Renderings with holes are not judged.


@dataclasses.dataclass(frozen=True)
class Film:
  """One film.

  Attributes:
    name: unique among the films, fit for a file name.
    path: of the mp4 file.
    prompt: what should be seen.
  """

  name: str
  path: pathlib.Path
  prompt: str


def find(folders: Sequence[pathlib.Path]) -> list[Film]:
  """Films of folders that `more4d generate` filled, or of those inside.

  Raises:
    UserError: no such folder, no scene in it, a scene without films, or two
      films that would have one name.
  """
  found = {}
  for folder in folders:
    if not folder.is_dir():
      raise errors.UserError(
        f"{folder}: no such folder; name one that `more4d generate` filled"
      )
    scenes = sorted(path.parent for path in folder.rglob(_SUMMARY))
    if not scenes:
      raise errors.UserError(
        f"{folder}: expected scenes of `more4d generate`, found no {_SUMMARY} "
        "in it: name another folder"
      )
    for scene in scenes:
      for film in _of_scene(scene, folder):
        if film.name in found:
          raise errors.UserError(
            f"expected films of different names, found {film.path} and "
            f"{found[film.name].path}: rename one of the folders"
          )
        found[film.name] = film
  return list(found.values())


def at_rate(
  frames: UInt8[np.ndarray, "T H W 3"], fps: float, wanted: float
) -> UInt8[np.ndarray, "N H W 3"]:
  """The frames shown at the times of another rate, for as long."""
  count = max(1, round(len(frames) * wanted / fps))
  shown = np.floor((np.arange(count) + 0.5) * fps / wanted).astype(int)
  return frames[shown.clip(None, len(frames) - 1)]


def _of_scene(scene: pathlib.Path, root: pathlib.Path) -> Iterator[Film]:
  try:
    summary = json.loads((scene / _SUMMARY).read_text())
    prompt = str(summary["prompt"])
  except (ValueError, KeyError, TypeError) as error:
    raise errors.UserError(
      f"{scene / _SUMMARY}: expected JSON with a prompt, found {error!r}: make "
      "the scene again"
    ) from error
  place = "_".join((root.absolute().name, *scene.relative_to(root).parts))
  paths = [p for p in sorted(scene.glob("*.mp4")) if not _is_bare(p)]
  if not paths:
    raise errors.UserError(
      f"{scene}: expected films, found none: make them with --camera"
    )
  for path in paths:
    yield Film(f"{place}_{path.stem}", path, prompt)


def _is_bare(path: pathlib.Path) -> bool:
  return path.name.endswith(_BARE)
