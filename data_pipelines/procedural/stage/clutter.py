"""Still objects around the subject, and the words for them."""

import dataclasses

import numpy as np

from data_pipelines.procedural import randomness
from data_pipelines.procedural.bodies import primitives, solids
from data_pipelines.procedural.stage import appearance, shots
from data_pipelines.procedural.subjects import wording

_TRIES = 40


@dataclasses.dataclass(frozen=True)
class Clutter:
  """Static primitives and a phrase such as " in front of two boxes"."""

  items: tuple[primitives.Primitive, ...]
  phrase: str


def _free(place, radius, others, zone):
  """Whether a disc on the ground touches neither others nor the zone."""
  low, high = zone
  nearest = np.clip(place, low, high)
  if np.hypot(*(place - nearest)) < radius:
    return False
  return all(np.hypot(*(place - p)) > radius + r for p, r in others)


def _find(rng, shot, radius, others, zone, *, behind):
  """Draws a free place on the ground that the camera sees, or None."""
  half_view = 0.5 * shot.width / shot.intrinsics[0]
  for _ in range(_TRIES):
    far = shot.depth * rng.uniform(1.15 if behind else 0.75, 1.9)
    spread = 0.85 * half_view * far
    place = np.array([rng.uniform(-spread, spread), far])
    if behind and place[1] < zone[1][1] + radius:
      continue
    if _free(place, radius, others, zone):
      return place
  return None


def scatter(
  rng: np.random.Generator,
  shot: shots.Shot,
  half_zone: tuple[float, float],
  num_frames: int,
  largest: int = 5,
) -> Clutter:
  """Draws static objects outside the zone in which the subject moves.

  The zone is the same whichever way the subject will go, so that the clutter
  tells nothing about its direction.

  Args:
    rng: source of the draws.
    shot: camera and subject.
    half_zone: half width and half depth around the subject in metres.
    num_frames: number of poses.
    largest: greatest number of objects.
  """
  centre = shot.subject[[0, 2]]
  zone = (centre - half_zone, centre + half_zone)
  count = int(rng.integers(0, largest + 1))
  named = randomness.pick(rng, tuple(solids.SOLIDS))
  named_count = int(rng.integers(0, count + 1))
  others, items, found = [], [], 0
  for index in range(count):
    is_named = index < named_count
    name = named
    if not is_named:
      rest = [n for n in solids.SOLIDS if n != named]
      name = randomness.pick(rng, rest)
    radius = shot.radius * rng.uniform(0.35, 0.75)
    reach = 1.45 * radius
    place = _find(rng, shot, reach, others, zone, behind=is_named)
    if place is None:
      continue
    found += is_named
    others.append((place, reach))
    path = np.tile([place[0], 0.0, place[1]], (num_frames, 1))
    material = appearance.clutter_material(rng, radius)
    yaw = rng.uniform(0, 2 * np.pi)
    items.append(solids.travelling(name, radius, path, yaw, material, 0))
  phrase = ""
  if found and rng.random() < 0.7:
    words = wording.with_article(named)
    if found > 1:
      words = f"{wording.NUMBERS[found]} {solids.PLURALS[named]}"
    phrase = f" in front of {words}"
  return Clutter(tuple(items), phrase)
