"""Animals on four legs that walk, trot, nod or wag their tails."""

import numpy as np

from data_pipelines.procedural import randomness
from data_pipelines.procedural.bodies import animal_bodies, articulation, gaits
from data_pipelines.procedural.stage import appearance, shots
from data_pipelines.procedural.subjects import drafts, wording

_PACE = {"slowly": 0.6, "quickly": 1.05}


def _still_posture(num_frames, **changes):
  values = {
    "thigh": np.zeros((2, num_frames)),
    "knee": np.zeros((2, num_frames)),
    "forward": np.zeros(num_frames),
    "neck": np.zeros(num_frames),
    "tail": np.zeros(num_frames),
  }
  return animal_bodies.Posture(**(values | changes))


def _going(legs, gait, num_frames):
  """Walks; the standing pair of feet does not slip."""
  time = articulation.times(num_frames)
  walk = gaits.walk(legs, gait, time)
  beat = 2 * np.pi * (gait.phase + gait.cycles * time)
  return _still_posture(
    num_frames,
    thigh=walk.thigh,
    knee=walk.knee,
    forward=walk.forward,
    neck=0.06 * np.sin(2 * beat),
    tail=0.25 * np.sin(beat),
  )


def _wagging(draws, num_frames):
  phase = draws.look.uniform(-1, 1)
  rate = draws.hidden.uniform(1.6, 2.2)
  swing = np.sin(phase + 2 * np.pi * rate * articulation.times(num_frames))
  return _still_posture(num_frames, tail=0.8 * swing)


def _lowering(draws, num_frames):
  deep = draws.hidden.uniform(0.9, 1.3)
  share = np.sin(0.5 * np.pi * articulation.times(num_frames)) ** 2
  return _still_posture(num_frames, neck=-deep * share)


def _nodding(draws, num_frames):
  phase = draws.look.uniform(-0.5, 0.5)
  rate = draws.hidden.uniform(1.0, 1.5)
  swing = np.sin(phase + 2 * np.pi * rate * articulation.times(num_frames))
  return _still_posture(num_frames, neck=-0.25 + 0.5 * swing)


_STANDING = {
  "wag": (_wagging, ("wags its tail", "stands and wags its tail")),
  "lower": (_lowering, ("lowers its head", "bends its head down")),
  "nod": (_nodding, ("nods its head", "moves its head up and down")),
}


def animal(
  draws: drafts.Draws, shot: shots.Shot, num_frames: int
) -> drafts.Draft:
  """An animal walks, or moves head or tail; its posture shows which way."""
  look = draws.look
  name = randomness.pick(look, tuple(animal_bodies.SPECIES))
  species = animal_bodies.SPECIES[name]
  length = species.scale * shot.radius * look.uniform(0.9, 1.1)
  colour = randomness.pick(look, species.colours)
  pattern = (
    "spotted"
    if name == "giraffe"
    else randomness.pick(look, ("plain", "plain", "spotted"))
  )
  main = appearance.object_material(look, colour, pattern, 0.3 * length)
  shade = (
    "brown" if colour == "black" else randomness.pick(look, ("black", "brown"))
  )
  coat = animal_bodies.Coat(
    main, appearance.object_material(look, shade, "plain", length)
  )
  does = randomness.pick(look, ("walk", "trot", *_STANDING), (4, 2, 1, 1, 1))
  where = randomness.pick(look, ("left", "right", "left", "right", "closer"))
  turn = look.uniform(-25, 25)
  if does in _STANDING:
    where = randomness.pick(look, ("left", "right"))
  if does == "wag":  # The tail is seen from behind.
    turn = look.uniform(35, 55) * (1 if where == "right" else -1)
  heading = np.radians(articulation.HEADINGS[where] + turn)
  frame = articulation.standing(shot.subject * [1, 0, 1], heading, num_frames)
  pace = randomness.pick(draws.words, tuple(_PACE))
  if does in _STANDING:
    posture, words = _STANDING[does]
    posture = posture(draws, num_frames)
    verb = randomness.pick(draws.words, words)
  else:
    swing, lift, rate = (0.3, 0.12, 0.9) if does == "walk" else (0.42, 0.2, 1.4)
    cycles = rate * _PACE[pace] * draws.hidden.uniform(0.9, 1.1)
    gait = gaits.Gait(swing, lift, cycles, look.uniform())
    legs = animal_bodies.legs_of(species, length)
    posture = _going(legs, gait, num_frames)
    words = ("walks", "walks", "goes") if does == "walk" else ("runs", "trots")
    verb = randomness.pick(draws.words, words)
    verb += f" {pace} " + (where if where == "closer" else f"to the {where}")
  words = f"{colour} {appearance.PATTERN_WORDS[pattern]}{name}"
  sentence = f"{wording.with_article(words)} {verb}"
  items = animal_bodies.body(frame, posture, species, length, coat)
  reach = shot.metres(0.4) + 0.8 * length
  return drafts.Draft(tuple(items), sentence, (reach, 0.9 * length))
