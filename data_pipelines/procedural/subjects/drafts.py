"""Drafts of scenes: a subject, its sentence and the zone that it needs."""

import dataclasses
from collections.abc import Callable

import numpy as np

from data_pipelines.procedural import randomness
from data_pipelines.procedural.bodies import primitives
from data_pipelines.procedural.stage import shots


@dataclasses.dataclass(frozen=True)
class Draws:
  """The independent random generators of one scene.

  Attributes:
    look: of shape, colours and start, which the first picture shows.
    words: of what the caption says, and how.
    hidden: of what neither picture nor caption tells.
  """

  look: np.random.Generator
  words: np.random.Generator
  hidden: np.random.Generator

  @classmethod
  def of(cls, seed: int, motion_seed: int) -> "Draws":
    """Returns the sources of a scene whose hidden motion has another seed."""
    return cls(
      randomness.generator(seed, "look"),
      randomness.generator(seed, "words"),
      randomness.generator(motion_seed, "hidden"),
    )


@dataclasses.dataclass(frozen=True)
class Draft:
  """The subject of a scene.

  Attributes:
    items: its primitives; those that move carry a number.
    sentence: what it does; a phrase for the surroundings may follow.
    half_zone: half width and half depth that the subject needs, metres.
  """

  items: tuple[primitives.Primitive, ...]
  sentence: str
  half_zone: tuple[float, float]


@dataclasses.dataclass(frozen=True)
class Kind:
  """A kind of scene.

  Attributes:
    build: (draws, shot, num_frames) -> Draft.
    area: share of the picture that the subject covers, from and to.
    rise: height of the subject's middle above the ground in radii.
    moving_camera: share of the scenes whose camera moves.
    largest_clutter: greatest number of objects that stand around.
  """

  build: Callable[[Draws, shots.Shot, int], Draft]
  area: tuple[float, float]
  rise: float
  moving_camera: float
  largest_clutter: int = 5
