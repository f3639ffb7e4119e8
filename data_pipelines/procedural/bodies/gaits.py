"""Legs that carry a body: one foot stands, and neither slips nor sinks.

A leg hangs from the hip; thigh and shin turn in the plane of the walk. While a
foot stands, the hip moves over it at an even pace, on the arc of a leg that is
nearly straight; meanwhile the other foot comes forward above the ground. The
joints' angles follow from the feet by the law of cosines.
"""

import dataclasses

import numpy as np
from jaxtyping import Float

_STRAIGHT = 0.99  # Distance from hip to ankle of a standing leg, of its length.


@dataclasses.dataclass(frozen=True)
class Legs:
  """Two legs, or two pairs, half a period apart.

  Attributes:
    thigh, shin: lengths in metres.
    sole: metres from the ankle down to the ground.
  """

  thigh: float
  shin: float
  sole: float

  @property
  def length(self) -> float:
    """Returns the height of the hip above the ground when standing."""
    return self.thigh + self.shin + self.sole

  def ankle(
    self, thigh: Float[np.ndarray, "*N"], knee: Float[np.ndarray, "*N"]
  ) -> tuple[Float[np.ndarray, "*N"], Float[np.ndarray, "*N"]]:
    """Returns how far the ankle is ahead of the hip and below it, metres.

    Args:
      thigh: angle of the thigh forward, radians.
      knee: how far the shin is bent back from it, radians.
    """
    shin = thigh - knee
    ahead = self.thigh * np.sin(thigh) + self.shin * np.sin(shin)
    below = self.thigh * np.cos(thigh) + self.shin * np.cos(shin)
    return ahead, below

  def bent(
    self, ahead: Float[np.ndarray, "*N"], below: Float[np.ndarray, "*N"]
  ) -> tuple[Float[np.ndarray, "*N"], Float[np.ndarray, "*N"]]:
    """Returns the thigh's and the knee's angle for an ankle in reach.

    The inverse of `ankle`, with the knee in front.
    """
    reach = np.hypot(ahead, below)
    one, two = self.thigh, self.shin
    knee = (one**2 + two**2 - reach**2) / (2 * one * two)
    hip = (one**2 + reach**2 - two**2) / (2 * one * reach)
    thigh = np.arctan2(ahead, below) + np.arccos(np.clip(hip, -1, 1))
    return thigh, np.pi - np.arccos(np.clip(knee, -1, 1))


@dataclasses.dataclass(frozen=True)
class Walk:
  """A walk at given times.

  Attributes:
    thigh, knee: angles of both legs in radians, [2 T].
    forward: way of the hip, [T] in metres.
  """

  thigh: Float[np.ndarray, "2 T"]
  knee: Float[np.ndarray, "2 T"]
  forward: Float[np.ndarray, "T"]


@dataclasses.dataclass(frozen=True)
class Gait:
  """A way of walking.

  Attributes:
    swing: angle of a leg from the vertical when its foot touches the ground.
    lift: height to which a foot is raised, as a share of the leg's length.
    cycles: periods (two steps each) during the clip.
    phase: of the first leg at the start, 0 to 1; below 0.5 it stands.
  """

  swing: float
  lift: float
  cycles: float
  phase: float


def walk(legs: Legs, gait: Gait, times: Float[np.ndarray, "T"]) -> Walk:
  """Returns a walk without slipping.

  Args:
    legs: lengths.
    gait: how it walks.
    times: positions within the clip, 0 to 1.
  """
  reach = _STRAIGHT * (legs.thigh + legs.shin)
  half_step = reach * np.sin(gait.swing)
  turn = gait.phase + gait.cycles * times + np.array([[0.0], [0.5]])
  share = np.mod(turn, 1.0)  # [2 T]
  stands = share < 0.5
  step = np.where(stands, 2 * share, 2 * share - 1)
  back = half_step * (1 - 2 * step)
  smooth = step * step * (3 - 2 * step)
  ahead = np.where(stands, back, half_step * (2 * smooth - 1))
  on_foot = np.where(stands, back, 0).sum(axis=0)  # Of the one that stands.
  height = np.sqrt(reach**2 - on_foot**2)
  raised = gait.lift * reach * np.sin(np.pi * step) ** 2
  below = np.where(stands, height, height - raised)
  thigh, knee = legs.bent(ahead, below)
  return Walk(thigh, knee, 4 * half_step * gait.cycles * times)
