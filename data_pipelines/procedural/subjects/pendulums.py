"""Pendulums by their equations of motion: simple, damped and double.

Angles solve the equations of a swinging mass by fine Runge-Kutta steps; the
positions follow from the angles, so rods keep their lengths exactly.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from data_pipelines.procedural import randomness
from data_pipelines.procedural.bodies import articulation, primitives, textures
from data_pipelines.procedural.stage import appearance, shots
from data_pipelines.procedural.subjects import drafts, wording

_STEPS = 1200
_PACE = {"slowly": 0.45, "quickly": 0.95}


def integrate(
  rates: Callable[[Float[np.ndarray, "S"]], Float[np.ndarray, "S"]],
  start: Float[np.ndarray, "S"],
) -> Float[np.ndarray, "G S"]:
  """Returns the states over the clip by fourth-order Runge-Kutta steps."""
  states, step = [np.asarray(start, np.float64)], 1.0 / _STEPS
  for _ in range(_STEPS):
    now = states[-1]
    first = rates(now)
    second = rates(now + 0.5 * step * first)
    third = rates(now + 0.5 * step * second)
    fourth = rates(now + step * third)
    states.append(now + step / 6 * (first + 2 * second + 2 * third + fourth))
  return np.stack(states)


def simple(
  angle: float, speed: float, cycles: float, damping: float
) -> Float[np.ndarray, "G"]:
  """Returns the angle of a pendulum over the clip.

  Args:
    angle: at the start, radians from hanging.
    speed: at the start, radians per clip.
    cycles: periods of small swings during the clip.
    damping: share of the speed that is lost per clip.
  """
  stiff = (2 * np.pi * cycles) ** 2

  def rates(state):
    return np.array([state[1], -stiff * np.sin(state[0]) - damping * state[1]])

  return integrate(rates, np.array([angle, speed]))[:, 0]


def double(
  angles: tuple[float, float], cycles: float
) -> Float[np.ndarray, "2 G"]:
  """Returns the angles of two equal pendulums, one below the other.

  Args:
    angles: at the start, radians from hanging; both are at rest.
    cycles: periods of small swings of one alone during the clip.
  """
  stiff = (2 * np.pi * cycles) ** 2

  def rates(state):
    first, second, fast, faster = state
    gap = first - second
    cosine, sine = np.cos(gap), np.sin(gap)
    one = -sine * faster**2 - 2 * stiff * np.sin(first)
    two = sine * fast**2 - stiff * np.sin(second)
    scale = 2 - cosine**2
    return np.array(
      [
        fast,
        faster,
        (one - cosine * two) / scale,
        (2 * two - cosine * one) / scale,
      ]
    )

  return integrate(rates, np.array([*angles, 0.0, 0.0]))[:, :2].T


def _rack(frame, wide, materials, radius):
  """Returns a still beam and two posts; the frame's origin hangs below it."""
  dark, height = materials
  items = [frame.part("box", (wide, radius, radius), (0, 0, 0), dark, 0)]
  for side in (-1, 1):
    place = (side * wide, 0.5 * height, 0)
    size = (radius, 0.5 * height, radius)
    items.append(frame.part("box", size, place, dark, 0))
  return items


def _arm(pivot, angle, length, radius, material):
  """Returns a rod's frame and the rod."""
  frame = pivot.turned((0, 0, 0), articulation.forward_swing(angle))
  return frame, frame.bone(radius, length, material)


def _bob(
  frame: articulation.Frame, shape: str, length: float, radius: float, material
) -> primitives.Primitive:
  size = {
    "ball": ("ellipsoid", np.full(3, radius)),
    "cube": ("box", np.full(3, 0.8 * radius)),
    "drum": ("cylinder", (0.9 * radius, 0.7 * radius)),
  }[shape]
  return frame.part(*size, (0, length, 0), material)


def pendulum(
  draws: drafts.Draws, shot: shots.Shot, num_frames: int
) -> drafts.Draft:
  """A pendulum, or one below another, swings below a rack."""
  look, hidden = draws.look, draws.hidden
  is_double = bool(look.random() < 0.4)
  colour = randomness.pick(look, tuple(textures.PALETTE))
  pattern = randomness.pick(look, textures.MORE_PATTERNS)
  bob = randomness.pick(look, ("ball", "cube", "drum"))
  radius = (0.5 if is_double else 0.62) * shot.radius
  material = appearance.object_material(look, colour, pattern, radius)
  dark = appearance.clutter_material(look, 0.2)
  pace = randomness.pick(draws.words, tuple(_PACE))
  cycles = _PACE[pace] * hidden.uniform(0.9, 1.1)
  length = (1.25 if is_double else 2.2) * shot.radius
  rise = 2 * length if is_double else length
  height = rise + 1.6 * radius
  yaw = look.uniform(-0.35, 0.35)
  top = shot.subject * [1, 0, 1] - [0, height, 0]
  pivot = articulation.standing(top, yaw, num_frames)
  thin = 0.05 * shot.radius
  items = _rack(pivot, 2.5 * shot.radius, (dark, height), 1.6 * thin)
  if is_double:
    sign = randomness.sign(look)
    start = (sign * look.uniform(0.7, 1.1), sign * look.uniform(-0.3, 1.1))
    angles = [
      articulation.sampled(angle, num_frames) for angle in double(start, cycles)
    ]
    upper, rod = _arm(pivot, angles[0], length, thin, dark)
    # Angles are absolute; the lower frame hangs on the upper one.
    joint = articulation.Frame(pivot.rotation, upper.at((0, length, 0)))
    lower, second = _arm(joint, angles[1], length, thin, dark)
    items += [rod, second, _bob(upper, bob, length, radius, material)]
    items.append(_bob(lower, bob, length, radius, material))
    words = (
      f"a double pendulum with {colour} {appearance.PATTERN_WORDS[pattern]}"
    )
    words += {"ball": "balls", "cube": "cubes", "drum": "drums"}[bob]
  else:
    angle = look.uniform(-0.5, 0.5)
    speed = randomness.sign(hidden) * 0.75 * 2 * np.pi * cycles
    path = simple(angle, speed, cycles, look.uniform(0, 0.6))
    frame, rod = _arm(
      pivot, articulation.sampled(path, num_frames), length, thin, dark
    )
    items += [rod, _bob(frame, bob, length, radius, material)]
    thing = wording.thing(colour, pattern, bob)
    words = randomness.pick(
      draws.words, (f"a pendulum with {thing}", f"{thing} on a rod")
    )
  verbs = (
    f"{words} swings {pace}",
    f"{words} {pace} swings from side to side",
    f"{words} swings {pace} to and fro",
  )
  sentence = randomness.pick(draws.words, verbs)
  zone = (3.0 * shot.radius, 1.3 * shot.radius)
  return drafts.Draft(tuple(items), sentence, zone)
