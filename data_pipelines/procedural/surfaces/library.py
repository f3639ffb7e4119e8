"""The surfaces by name: made once per process, equal in every process."""

import functools
import zlib
from collections.abc import Callable, Mapping

import numpy as np

from data_pipelines.procedural import randomness
from data_pipelines.procedural.surfaces import (
  cutouts,
  images,
  minerals,
  organics,
  pictured,
)

_VARIANTS = 5
SURFACES: Mapping[str, Callable] = {
  maker.__name__: maker
  for maker in (
    minerals.plaster,
    minerals.concrete,
    minerals.asphalt,
    minerals.gravel,
    minerals.earth,
    minerals.sand,
    minerals.rock,
    minerals.bricks,
    minerals.paving,
    minerals.cobbles,
    minerals.tiles,
    minerals.metal,
    organics.wood,
    organics.planks,
    organics.bark,
    organics.grass,
    organics.leaves,
    organics.fabric,
    organics.knit,
    organics.fur,
    organics.carpet,
    organics.skin,
    pictured.facade,
    pictured.books,
    pictured.painting,
    pictured.view,
    pictured.clouds,
    cutouts.spray,
    cutouts.tuft,
    cutouts.treeline,
    cutouts.skyline,
  )
}
"""Name -> maker of albedo, relief and, for some, holes."""


@functools.cache
def picture(name: str, variant: int) -> images.Picture:
  """Returns a surface; a name has `_VARIANTS` of them."""
  seed = [zlib.crc32(name.encode()), variant]
  return images.Picture.of(*SURFACES[name](np.random.default_rng(seed)))


def any_of(rng: np.random.Generator, *names: str) -> images.Picture:
  """Draws a surface of one of several names."""
  return picture(randomness.pick(rng, names), int(rng.integers(_VARIANTS)))
