"""Gives actors surfaces of photographs in place of poster colours."""

import dataclasses

import numpy as np

from data_pipelines.procedural import randomness
from data_pipelines.procedural.bodies import primitives, textures
from data_pipelines.procedural.surfaces import (
  colours,
  library,
  surface,
)

_GLOSS = {"metal": 0.06, "tiles": 0.05, "skin": 0.015, "wood": 0.02}
_RELIEF = {"fabric": 0.35, "knit": 0.4, "fur": 0.3, "rock": 0.3}


@dataclasses.dataclass(frozen=True)
class Wardrobe:
  """What an actor is made of.

  Attributes:
    rng: source of the draws.
    names: of surfaces in `library`, of which one is drawn for each material.
    size: of the actor in metres, which sets the scale of its texture.
    pictures: surfaces that are used instead of the library's; may be empty.
  """

  rng: np.random.Generator
  names: tuple[str, ...]
  size: float
  pictures: tuple = ()

  def _skin(self, material, name):
    vivid = self.rng.uniform(0.42, 0.72)
    linear = colours.calmed(self.rng, material.colours, vivid)
    bare = not material.phase.any()  # Human skin, see `textures.flat`.
    if bare:
      name = "skin"
    picture = library.any_of(self.rng, name)
    if self.pictures and not bare:
      picture = randomness.pick(self.rng, self.pictures)
    plain = material.pattern == "plain"
    return surface.Surface(
      picture=picture,
      colour=linear[0] if plain else np.ones(3),
      tiles=self.rng.uniform(0.45, 0.9) / self.size,
      pattern=None if plain else self._pattern(material, linear),
      relief=_RELIEF.get(name, 0.25),
      gloss=_GLOSS.get(name, 0.0),
      shift=tuple(self.rng.random(3)),
    )

  def _pattern(self, material, linear):
    return dataclasses.replace(material, colours=linear)

  def dress(
    self, items: tuple[primitives.Primitive, ...]
  ) -> tuple[primitives.Primitive, ...]:
    """Returns the bodies with surfaces; equal materials get equal ones."""
    known: dict[int, surface.Surface] = {}
    dressed = []
    for item in items:
      skins = []
      for material in item.materials:
        if not isinstance(material, textures.Material):
          skins.append(material)
          continue
        if id(material) not in known:
          name = randomness.pick(self.rng, self.names)
          known[id(material)] = self._skin(material, name)
        skin = known[id(material)]
        if item.shape == "cloth":
          skin = dataclasses.replace(skin, thin=0.45)
        skins.append(skin)
      dressed.append(dataclasses.replace(item, materials=tuple(skins)))
    return tuple(dressed)
