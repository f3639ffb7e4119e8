"""`more4d generate --keep`: what stands between a picture and its films.

The files lie in the folder `intermediate` of a scene, and the guide to
generation explains them.
"""

import dataclasses
import hashlib
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import PIL.Image
from jaxtyping import Bool, UInt8

from more4d_jax import inputs
from more4d_jax.cli import jobs as jobs_lib
from more4d_jax.sampling import denoising, stages

FOLDER = "intermediate"
_TEXT = "text_context"  # Of conditions; it has files of its own.


class Kept:
  """Writes the intermediate values of one scene as they are made."""

  def __init__(self, folder: pathlib.Path, job: jobs_lib.Job):
    """Makes the folder.

    Args:
      folder: of the files.
      job: picture and words of the scene.
    """
    folder.mkdir(parents=True)
    self._folder = folder
    self._words = job.prompt, job.negative_prompt
    self._labels: Sequence[str] = ()

  def picture(self, prepared: inputs.Prepared) -> None:
    """Keeps the picture and its depth, at the model's size and the scene's."""
    for name, one in (("model", prepared), ("scene", prepared.finer)):
      if one is not None:
        PIL.Image.fromarray(one.image).save(
          self._folder / f"picture_{name}.png"
        )
        self._save(
          f"depth_{name}",
          depth=one.depth,
          valid=one.valid,
          intrinsics=one.intrinsics,
        )

  def renderings(
    self,
    labels: Sequence[str],
    films: Sequence[
      tuple[UInt8[np.ndarray, "T H W 3"], Bool[np.ndarray, "T H W"]]
    ],
  ) -> None:
    """Keeps renderings with holes, of which the next films are made.

    Args:
      labels: of the camera paths.
      films: colours and coverage of each.
    """
    self._labels = labels
    for label, (colours, covered) in zip(labels, films, strict=True):
      self._save(f"rendering_{label}", colours=colours, coverage=covered)

  def __call__(
    self, kind: str, job: stages.Job, drawn: denoising.Drawn
  ) -> None:
    """Keeps what was drawn, and of what; see `stages.Keep`."""
    guided = () if job.negative is None else (job.negative,)
    for words, conditions in zip(self._words, (job.conditions, *guided)):
      digest = hashlib.sha256(words.encode()).hexdigest()[:16]
      self._save(f"text_{kind}_{digest}", features=conditions.text_context[0])
    names = [kind]
    if kind == "vism":
      count = len(job.noise)  # Films are drawn a batch after the other.
      names = [f"{kind}_{label}" for label in self._labels[:count]]
      self._labels = self._labels[count:]
    for row, name in enumerate(names):
      self._save(
        f"latents_{name}",
        noise=_row(job.noise, row),
        latents=_row(drawn.latents, row),
        computed=drawn.computed,
        **{
          field.name: _row(getattr(job.conditions, field.name), row)
          for field in dataclasses.fields(job.conditions)
          if field.name != _TEXT
        },
      )

  def _save(self, name: str, **arrays: Any) -> None:
    """Writes those arrays that there are."""
    found = {k: np.asarray(v) for k, v in arrays.items() if v is not None}
    np.savez_compressed(self._folder / f"{name}.npz", **found)


def _row(values: Any, row: int) -> Any:
  """One sample of a batch; what a batch shares is that of each."""
  if values is None:
    return None
  values = np.asarray(values)
  return values[min(row, len(values) - 1)]
