"""`more4d generate --keep`: what stands between a picture and its films.

The files lie in the folder `intermediate` of a scene, and the guide to
generation explains them.
"""

import dataclasses
import hashlib
import pathlib
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
    """Makes the folder unless it is there.

    Args:
      folder: of the files.
      job: picture and words of the scene.
    """
    folder.mkdir(parents=True, exist_ok=True)
    self._folder = folder
    self._words = job.prompt, job.negative_prompt

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

  def rendering(
    self,
    label: str,
    colours: UInt8[np.ndarray, "T H W 3"],
    covered: Bool[np.ndarray, "T H W"],
  ) -> None:
    """Keeps a rendering with holes, of which a film is made.

    Args:
      label: of the camera path.
      colours: of the rendering.
      covered: where a point was drawn.
    """
    self._save(f"rendering_{label}", colours=colours, coverage=covered)

  def drawn(
    self,
    kind: str,
    job: stages.Job,
    drawn: denoising.Drawn,
    label: str | None = None,
  ) -> None:
    """Keeps what was drawn, and of what.

    Args:
      kind: of network.
      job: what was to be drawn, a batch of one.
      drawn: the latents.
      label: of the camera path of a film.
    """
    guided = () if job.negative is None else (job.negative,)
    for words, conditions in zip(self._words, (job.conditions, *guided)):
      digest = hashlib.sha256(words.encode()).hexdigest()[:16]
      self._save(f"text_{kind}_{digest}", features=conditions.text_context[0])
    self._save(
      f"latents_{kind}_{label}" if label else f"latents_{kind}",
      noise=job.noise[0],
      latents=drawn.latents[0],
      computed=drawn.computed,
      **{
        field.name: _first(getattr(job.conditions, field.name))
        for field in dataclasses.fields(job.conditions)
        if field.name != _TEXT
      },
    )

  def _save(self, name: str, **arrays: Any) -> None:
    """Writes those arrays that there are."""
    found = {k: np.asarray(v) for k, v in arrays.items() if v is not None}
    np.savez_compressed(self._folder / f"{name}.npz", **found)


def _first(values: Any) -> Any:
  """The only sample of a batch."""
  return None if values is None else np.asarray(values)[0]
