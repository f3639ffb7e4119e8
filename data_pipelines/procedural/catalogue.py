"""Versions of the scenes: which kinds there are and how they are mixed.

A scene is given by version, kind and seed. Version 1 stays as it is: trainings
and evaluations name its seeds.
"""

import dataclasses
from collections.abc import Mapping

from data_pipelines.procedural.subjects import (
  animals,
  birds,
  cast,
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
  walkers,
  wheels,
)


@dataclasses.dataclass(frozen=True)
class Version:
  """A version of the scenes.

  Attributes:
    kinds: name -> kind.
    mixture: name -> share of the scenes of kind "all".
    rich: whether grounds, walls and light vary as in `surroundings`.
    filmed: whether places and pictures are those of `film_scenes`.
  """

  kinds: Mapping[str, drafts.Kind]
  mixture: Mapping[str, float]
  rich: bool = False
  filmed: bool = False


FIRST = Version(
  kinds={
    "motion": drafts.Kind(travellers.sideways, (0.085, 0.15), 1.0, 0.0),
    "rigid": drafts.Kind(travellers.several, (0.045, 0.1), 1.0, 0.4, 3),
    "walker": drafts.Kind(walkers.walking, (0.05, 0.085), 2.1, 0.4),
    "flag": drafts.Kind(hangings.waving, (0.07, 0.14), 1.9, 0.4, 4),
    "chain": drafts.Kind(hangings.swinging, (0.035, 0.07), 2.2, 0.4, 4),
  },
  mixture={
    "motion": 0.5,
    "rigid": 0.16,
    "walker": 0.14,
    "flag": 0.1,
    "chain": 0.1,
  },
)
_NEW = {
  "person": drafts.Kind(people.person, (0.035, 0.065), 2.1, 0.4),
  "animal": drafts.Kind(animals.animal, (0.05, 0.1), 1.5, 0.4),
  "bird": drafts.Kind(birds.flying, (0.03, 0.07), 2.6, 0.4),
  "wheel": drafts.Kind(wheels.rolling, (0.05, 0.11), 1.15, 0.4),
  "cart": drafts.Kind(wheels.cart, (0.05, 0.1), 0.9, 0.4),
  "spinner": drafts.Kind(wheels.spinning, (0.04, 0.09), 1.9, 0.4),
  "pendulum": drafts.Kind(pendulums.pendulum, (0.035, 0.06), 1.6, 0.4, 4),
  "plant": drafts.Kind(plants.swaying, (0.03, 0.06), 1.9, 0.4),
  "door": drafts.Kind(openings.door, (0.04, 0.08), 1.9, 0.4),
  "chest": drafts.Kind(openings.chest, (0.05, 0.1), 0.8, 0.4),
  "drawer": drafts.Kind(openings.drawer, (0.05, 0.09), 1.2, 0.4),
  "collision": drafts.Kind(impacts.collision, (0.04, 0.08), 0.7, 0.3, 4),
  "fall": drafts.Kind(impacts.falling, (0.03, 0.06), 2.2, 0.3, 4),
  "jelly": drafts.Kind(jellies.jelly, (0.06, 0.12), 1.1, 0.4),
  "blob": drafts.Kind(jellies.wobbling, (0.06, 0.12), 1.3, 0.4),
  # Needs MuJoCo, the extra [sim], and so is in no mixture.
  "tumble": drafts.Kind(physics.tumbling, (0.03, 0.06), 1.6, 0.3, 4),
}
SECOND = Version(
  kinds=FIRST.kinds | _NEW,
  mixture={
    "motion": 0.12,
    "rigid": 0.08,
    "flag": 0.06,
    "chain": 0.04,
    "person": 0.14,
    "animal": 0.1,
    "bird": 0.04,
    "wheel": 0.04,
    "cart": 0.05,
    "spinner": 0.04,
    "pendulum": 0.05,
    "plant": 0.06,
    "door": 0.04,
    "chest": 0.02,
    "drawer": 0.02,
    "collision": 0.04,
    "fall": 0.03,
    "jelly": 0.03,
    "blob": 0.02,
  },
  rich=True,
)
THIRD = Version(kinds=cast.ROLES, mixture=cast.MIXTURE, filmed=True)
VERSIONS = {1: FIRST, 2: SECOND, 3: THIRD}
