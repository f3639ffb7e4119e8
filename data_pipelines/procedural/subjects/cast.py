"""Roles of version 3: who acts, how large it is, where, and made of what."""

import dataclasses
from collections.abc import Mapping

from data_pipelines.procedural.subjects import (
  animals,
  birds,
  drafts,
  hangings,
  impacts,
  jellies,
  openings,
  pendulums,
  people,
  physics,
  plants,
  travellers,
  wheels,
)

_TABLE = ("indoor", "table", "table")
_ANY = ("field", "street", "indoor", "table")
_OUT = ("field", "field", "street")
_PAINT = ("metal", "wood", "plaster")
_THINGS = ("metal", "wood", "fabric", "knit", "rock", "fur", "plaster", "skin")


@dataclasses.dataclass(frozen=True)
class Role(drafts.Kind):
  """A kind of scene of version 3.

  Attributes:
    radius: of a ball with the subject's picture area, from and to, metres.
    layouts: where it is found, each as likely as it is often named.
    surfaces: names of the surfaces that it is made of.
    seconds: that a clip lasts, from and to; what falls takes its own time.
    with_others: whether others may act beside it.
    scale: which others, see `COMPANIONS`.
  """

  name: str = ""
  radius: tuple[float, float] = (0.2, 0.4)
  layouts: tuple[str, ...] = _ANY
  surfaces: tuple[str, ...] = _THINGS
  seconds: tuple[float, float] = (0.5, 2.5)
  with_others: bool = True
  scale: str = "small"


COMPANIONS = {
  "small": ("motion", "wheel", "jelly", "animal", "plant"),
  "large": ("person", "person", "animal", "cart", "bird", "plant"),
}


def _role(name, build, area, rise, **more) -> Role:
  return Role(build, area, rise, 0.75, name=name, **more)


_LIST = (
  _role("motion", travellers.sideways, (0.07, 0.2), 1.0),
  _role(
    "rigid",
    travellers.several,
    (0.05, 0.12),
    1.0,
    with_others=False,
    seconds=(0.7, 1.5),
  ),
  _role(
    "flag",
    hangings.waving,
    (0.08, 0.25),
    1.9,
    radius=(0.35, 0.8),
    layouts=("field", "street", "indoor"),
    surfaces=("fabric", "fabric", "knit"),
    seconds=(0.6, 3.0),
    scale="large",
  ),
  _role(
    "chain",
    hangings.swinging,
    (0.05, 0.12),
    2.2,
    surfaces=("metal", "wood"),
    seconds=(0.8, 2.0),
  ),
  _role(
    "person",
    people.person,
    (0.045, 0.12),
    2.1,
    radius=(0.36, 0.44),
    layouts=("field", "street", "street", "indoor"),
    surfaces=("fabric", "fabric", "knit"),
    seconds=(0.6, 1.6),
    scale="large",
  ),
  _role(
    "animal",
    animals.animal,
    (0.07, 0.22),
    1.5,
    radius=(0.22, 0.5),
    layouts=("field", "field", "street", "indoor"),
    surfaces=("fur",),
    seconds=(0.5, 1.4),
    scale="large",
  ),
  _role(
    "bird",
    birds.flying,
    (0.05, 0.14),
    2.6,
    radius=(0.15, 0.35),
    layouts=_OUT,
    surfaces=("fur",),
    seconds=(0.5, 1.2),
    scale="large",
  ),
  _role(
    "wheel", wheels.rolling, (0.07, 0.18), 1.15, surfaces=("metal", "wood")
  ),
  _role(
    "cart",
    wheels.cart,
    (0.08, 0.2),
    0.9,
    radius=(0.3, 1.3),
    layouts=("street", "street", "field", "indoor"),
    surfaces=("metal",),
    scale="large",
  ),
  _role(
    "spinner",
    wheels.spinning,
    (0.07, 0.16),
    1.9,
    surfaces=_PAINT,
    seconds=(0.5, 3.0),
  ),
  _role(
    "pendulum",
    pendulums.pendulum,
    (0.05, 0.12),
    1.6,
    surfaces=_PAINT,
    seconds=(0.8, 2.0),
  ),
  _role(
    "plant",
    plants.swaying,
    (0.06, 0.16),
    1.9,
    radius=(0.2, 0.5),
    surfaces=("leaves", "skin"),
    seconds=(0.8, 4.0),
  ),
  _role(
    "door",
    openings.door,
    (0.09, 0.22),
    1.9,
    radius=(0.45, 0.6),
    layouts=("indoor", "indoor", "street"),
    surfaces=("wood", "planks", "metal"),
    seconds=(0.8, 4.0),
  ),
  _role(
    "chest",
    openings.chest,
    (0.08, 0.2),
    0.8,
    layouts=_TABLE,
    surfaces=("wood", "planks"),
    seconds=(0.8, 3.0),
  ),
  _role(
    "drawer",
    openings.drawer,
    (0.09, 0.2),
    1.2,
    radius=(0.3, 0.45),
    layouts=_TABLE,
    surfaces=("wood", "metal"),
    seconds=(0.8, 3.0),
  ),
  _role(
    "collision",
    impacts.collision,
    (0.06, 0.14),
    0.7,
    seconds=(0.7, 1.3),
    with_others=False,
  ),
  _role(
    "fall",
    impacts.falling,
    (0.05, 0.12),
    2.2,
    seconds=(0.9, 1.1),
    with_others=False,
  ),
  _role(
    "jelly",
    jellies.jelly,
    (0.08, 0.22),
    1.1,
    surfaces=("metal", "skin", "skin"),
    seconds=(0.5, 2.0),
  ),
  _role(
    "blob",
    jellies.wobbling,
    (0.08, 0.2),
    1.3,
    surfaces=("metal", "skin", "fur"),
    seconds=(0.5, 2.5),
  ),
  # Needs MuJoCo, the extra [sim], and so is in no mixture.
  _role(
    "tumble",
    physics.tumbling,
    (0.05, 0.1),
    1.6,
    seconds=(0.9, 1.1),
    with_others=False,
  ),
)
ROLES: Mapping[str, Role] = {role.name: role for role in _LIST}
MIXTURE: Mapping[str, float] = {
  "motion": 0.1,
  "rigid": 0.06,
  "flag": 0.07,
  "chain": 0.03,
  "person": 0.2,
  "animal": 0.13,
  "bird": 0.04,
  "wheel": 0.03,
  "cart": 0.08,
  "spinner": 0.03,
  "pendulum": 0.03,
  "plant": 0.06,
  "door": 0.03,
  "chest": 0.02,
  "drawer": 0.02,
  "collision": 0.03,
  "fall": 0.02,
  "jelly": 0.02,
  "blob": 0.01,
}
"""Name of a role -> share of the scenes of kind "all"."""
