"""Scenes and films that a pipeline is asked for, and their batches."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Bool, UInt8

from more4d_jax import batches, completion, inputs
from more4d_jax import scene as scene_lib
from more4d_jax.sampling import denoising, stages


@dataclasses.dataclass(frozen=True)
class SceneRequest:
  """A scene to make.

  Attributes:
    prepared: picture of the model's size, with depth; the scene has the size
      of its finer grid, if any.
    prompt: what moves and how.
    seed: of the noise.
    negative_prompt: what guidance leads away from.
  """

  prepared: inputs.Prepared
  prompt: str
  seed: int = 0
  negative_prompt: str = ""


@dataclasses.dataclass(frozen=True)
class FilmRequest:
  """A rendering of a scene whose holes are to be filled.

  Attributes:
    picture: of the scene, of any size.
    rendering: of the scene, in its size.
    coverage: True where a point was drawn.
    prompt: what moves and how.
    seed: of the noise.
    negative_prompt: what guidance leads away from.
  """

  picture: UInt8[np.ndarray, "H W 3"]
  rendering: UInt8[np.ndarray, "T H W 3"]
  coverage: Bool[np.ndarray, "T H W"]
  prompt: str
  seed: int = 0
  negative_prompt: str = ""

  @classmethod
  def of(
    cls, scene: scene_lib.Scene, film: completion.Film, seed: int = 0
  ) -> "FilmRequest":
    """A rendering of a scene, with the scene's words."""
    prompt, negative = (
      str(scene.metadata.get(name, ""))
      for name in ("prompt", "negative_prompt")
    )
    return cls(scene.colours, *film, prompt, seed, negative)


# Number of a request, kind of network, what was drawn for it and of what, as
# batches of one; see `stages.Keep`.
KeepOne = Callable[[int, str, stages.Job, denoising.Drawn], None]


def keep_nothing(
  number: int, kind: str, job: stages.Job, drawn: denoising.Drawn
) -> None:
  """Keeps nothing."""
  del number, kind, job, drawn


def keeping(
  plan: Sequence[tuple[Sequence[int], int]], keep: KeepOne
) -> stages.Keep:
  """Tells batches apart into requests.

  Args:
    plan: numbers of the requests of each batch, and how many of them count.
    keep: called for each request.
  """
  left = iter(plan)

  def keep_all(kind: str, job: stages.Job, drawn: denoising.Drawn) -> None:
    chosen, count = next(left)
    for row, number in enumerate(chosen[:count]):
      one = drawn.replace(latents=drawn.latents[row : row + 1])
      keep(number, kind, job.sample(row), one)

  return keep_all


def picture_batch(requests: Sequence[SceneRequest]) -> batches.PictureBatch:
  """The pictures of several scenes."""
  prepared = [request.prepared for request in requests]
  return batches.PictureBatch(
    images=np.stack([p.image for p in prepared]),
    depths=np.stack([p.depth for p in prepared]),
    intrinsics=np.stack([p.intrinsics for p in prepared]),
    prompts=[request.prompt for request in requests],
    noise_keys=[(request.seed, 0) for request in requests],
    negative_prompts=[request.negative_prompt for request in requests],
    known=np.stack([p.known for p in prepared]),
  )


def rendering_batch(
  requests: Sequence[FilmRequest],
  size: tuple[int, int, int],
  *,
  filled: bool,
) -> batches.RenderingBatch:
  """The renderings of several films, as `completion.to_frame` gives them.

  Args:
    requests: of scenes of any size.
    size: frames, rows and columns of the network.
    filled: the holes' colours are kept.
  """
  videos, coverage, images = map(
    np.stack,
    zip(
      *(
        completion.to_frame(
          r.picture, r.rendering, r.coverage, size, filled=filled
        )
        for r in requests
      )
    ),
  )
  return batches.RenderingBatch(
    videos,
    coverage,
    images,
    prompts=[request.prompt for request in requests],
    noise_keys=[(request.seed, 0) for request in requests],
    negative_prompts=[request.negative_prompt for request in requests],
  )
