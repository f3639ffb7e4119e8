"""Lights of a film: a key light, light from around, lamps, haze, sky."""

import dataclasses

import numpy as np
from jaxtyping import Float, Float32

from data_pipelines.procedural.surfaces import images


@dataclasses.dataclass(frozen=True)
class Lamp:
  """A small lamp without a shadow of its own.

  Attributes:
    place: on the stage, metres.
    colour: light that it throws on a surface one metre away, linear.
  """

  place: Float[np.ndarray, "3"]
  colour: Float[np.ndarray, "3"]


@dataclasses.dataclass(frozen=True)
class Sky:
  """What is seen where nothing else is: endlessly far.

  Attributes:
    zenith, horizon: linear light.
    sun: direction towards the sun.
    glare: linear light around the sun.
    clouds: density and shade of clouds.
    cover: share of clouds, about -1 (none) to 1 (all).
    cloud: linear light of clouds.
    turn: of the clouds, radians.
  """

  zenith: Float[np.ndarray, "3"]
  horizon: Float[np.ndarray, "3"]
  sun: Float[np.ndarray, "3"]
  glare: Float[np.ndarray, "3"]
  clouds: images.Picture
  cover: float
  cloud: Float[np.ndarray, "3"]
  turn: float

  def plain(
    self, directions: Float[np.ndarray, "3 N"]
  ) -> Float32[np.ndarray, "N 3"]:
    """Returns its light without clouds; directions are unit vectors."""
    up = np.clip(-directions[1], 0, 1)[:, None] ** 0.45
    light = self.horizon + up * (self.zenith - self.horizon)
    near = np.clip(self.sun @ directions, 0, 1)
    glare = 0.35 * near**6 + 1.2 * near**90
    return (light + glare[:, None] * self.glare).astype(np.float32)

  def light(
    self, directions: Float[np.ndarray, "3 N"]
  ) -> Float32[np.ndarray, "N 3"]:
    """Returns its light; directions are unit vectors."""
    light = self.plain(directions)
    up = np.maximum(-directions[1], 0.02)
    cosine, sine = np.cos(self.turn), np.sin(self.turn)
    x = (cosine * directions[0] + sine * directions[2]) / (up + 0.12)
    z = (cosine * directions[2] - sine * directions[0]) / (up + 0.12)
    near = np.full(len(x), 1e-3) / (up + 0.12) ** 2
    density = images.sample(self.clouds, 0.11 * x, 0.11 * z, near)
    share = np.clip(0.55 * (density[:, 0] + 2.2 * self.cover), 0, 1)
    share = share * share * (3 - 2 * share)
    shade = np.clip(1 - 0.28 * density[:, 0] - 0.5 * density[:, 1], 0.45, 1.25)
    fade = np.clip(up * 9, 0, 1) if self.cover < 0.5 else np.ones_like(up)
    share = (share * fade)[:, None]
    cloud = shade[:, None] * self.cloud
    return (light * (1 - share) + cloud * share).astype(np.float32)


@dataclasses.dataclass(frozen=True)
class Lighting:
  """All lights of a stage, linear.

  Attributes:
    key: direction towards the key light.
    key_colour: light that it throws on a surface across it.
    softness: radius of its half-shadows in metres.
    above, below: light from everywhere on surfaces that face up and down.
    lamps: small lamps.
    haze: colour of the air.
    clear: metres over which the air hides all but a share of 1/e.
    sky: behind everything; None where nothing is open.
  """

  key: Float[np.ndarray, "3"]
  key_colour: Float[np.ndarray, "3"]
  softness: float
  above: Float[np.ndarray, "3"]
  below: Float[np.ndarray, "3"]
  lamps: tuple[Lamp, ...] = ()
  haze: Float[np.ndarray, "3"] = dataclasses.field(
    default_factory=lambda: np.full(3, 0.6)
  )
  clear: float = 1e6
  sky: Sky | None = None
