"""People who walk, run, jump, wave, bow, kick and exercise."""

import dataclasses
from collections.abc import Callable

import numpy as np

from data_pipelines.procedural import randomness
from data_pipelines.procedural.bodies import (
  articulation,
  gaits,
  human_bodies,
  textures,
)
from data_pipelines.procedural.stage import appearance, shots
from data_pipelines.procedural.subjects import drafts

_PACE = {"slowly": 0.6, "quickly": 1.0}


@dataclasses.dataclass(frozen=True)
class Doing:
  """Inputs of an action.

  Attributes:
    draws: random generators; `look` draws what the first picture shows.
    height: of the person in metres.
    num_frames: number of poses.
    pace: "slowly" or "quickly".
  """

  draws: drafts.Draws
  height: float
  num_frames: int
  pace: str

  def wave(self, cycles: float, phase: float = 0.0) -> np.ndarray:
    """Returns sin of `cycles` periods in the clip, its pace a little hidden."""
    rate = cycles * self.draws.hidden.uniform(0.85, 1.15)
    time = articulation.times(self.num_frames)
    return np.sin(phase + 2 * np.pi * rate * time)


def _going(
  doing: Doing, swing: float, lift: float, rate: float, **changes
) -> human_bodies.Posture:
  """Walks or runs: the standing foot does not slip."""
  draws, time = doing.draws, articulation.times(doing.num_frames)
  cycles = rate * _PACE[doing.pace] * draws.hidden.uniform(0.9, 1.1)
  gait = gaits.Gait(swing, lift, cycles, draws.look.uniform())
  walk = gaits.walk(human_bodies.legs_of(doing.height), gait, time)
  return human_bodies.Posture.upright(
    doing.num_frames,
    thigh=walk.thigh,
    knee=walk.knee,
    arm=-0.8 * walk.thigh,
    forward=walk.forward,
    **changes,
  )


def walks(doing: Doing) -> human_bodies.Posture:
  """Walks."""
  return _going(doing, 0.38, 0.12, 1.0)


def runs(doing: Doing) -> human_bodies.Posture:
  """Runs, leaning forward with bent arms."""
  return _going(doing, 0.52, 0.4, 1.35, elbow=1.5, lean=0.18)


def waves_one_arm(doing: Doing) -> human_bodies.Posture:
  """Waves an arm above the shoulder."""
  side = int(doing.draws.look.integers(2))
  raised = np.full((2, doing.num_frames), 0.12)
  phase = doing.draws.look.uniform(-0.5, 0.5)
  raised[side] = 2.35 + 0.45 * doing.wave(1.3, phase)
  return human_bodies.Posture.upright(doing.num_frames, raised=raised)


def waves_both_arms(doing: Doing) -> human_bodies.Posture:
  """Waves both arms above the shoulders."""
  phase = doing.draws.look.uniform(-0.5, 0.5)
  return human_bodies.Posture.upright(
    doing.num_frames, raised=2.3 + 0.5 * doing.wave(1.3, phase)
  )


def jumps(doing: Doing) -> human_bodies.Posture:
  """Jumps up and down: parabolas of free flight, knees bent in between."""
  rate = doing.draws.hidden.uniform(1.1, 1.7)
  beat = np.mod(rate * articulation.times(doing.num_frames) + 0.2, 1.0)
  flight = np.clip((beat - 0.35) / 0.65, 0, 1)
  crouch = 0.65 * np.sin(np.pi * np.clip(beat / 0.35, 0, 1))
  return human_bodies.Posture.upright(
    doing.num_frames,
    thigh=crouch,
    knee=2 * crouch,
    lift=0.14 * doing.height * 4 * flight * (1 - flight),
    arm=0.3 - crouch,
  )


def squats(doing: Doing) -> human_bodies.Posture:
  """Bends the knees and rises again, arms stretched forward."""
  deep = 0.5 - 0.5 * np.cos(
    2
    * np.pi
    * doing.draws.hidden.uniform(0.85, 1.25)
    * articulation.times(doing.num_frames)
    + doing.draws.look.uniform(0, 1)
  )
  return human_bodies.Posture.upright(
    doing.num_frames,
    thigh=0.1 + 1.1 * deep,
    knee=0.2 + 2.1 * deep,
    arm=1.5,
    elbow=0.0,
    lean=0.35 * deep,
  )


def jacks(doing: Doing) -> human_bodies.Posture:
  """Does jumping jacks."""
  phase = doing.draws.look.uniform(-0.5, 1.0)
  wide = 0.5 + 0.5 * doing.wave(1.2, phase)
  return human_bodies.Posture.upright(
    doing.num_frames,
    spread=0.06 + 0.4 * wide,
    raised=0.2 + 2.5 * wide,
    lift=0.1 * doing.height * 4 * wide * (1 - wide),
  )


def kicks(doing: Doing) -> human_bodies.Posture:
  """Kicks a leg forward, standing on the other one."""
  side = int(doing.draws.look.integers(2))
  thigh, knee = np.zeros((2, doing.num_frames)), np.zeros((2, doing.num_frames))
  kick = doing.wave(1.1, doing.draws.look.uniform(-1.4, -0.9))
  thigh[side] = 0.35 + 0.75 * kick
  knee[side] = 0.5 - 0.4 * kick
  arm = np.stack([0.5 * kick, -0.5 * kick])
  return human_bodies.Posture.upright(
    doing.num_frames, thigh=thigh, knee=knee, arm=arm
  )


def bows(doing: Doing) -> human_bodies.Posture:
  """Bends forward."""
  size = doing.draws.hidden.uniform(0.9, 1.25)
  time = articulation.times(doing.num_frames)
  lean = 0.1 + size * np.sin(0.5 * np.pi * time) ** 2
  return human_bodies.Posture.upright(
    doing.num_frames, lean=lean, arm=0.4 * lean
  )


def turns(doing: Doing) -> human_bodies.Posture:
  """Turns about the vertical."""
  side = randomness.sign(doing.draws.hidden)
  angle = side * doing.draws.hidden.uniform(1.3, 2.0)
  return human_bodies.Posture.upright(
    doing.num_frames, turn=angle * articulation.times(doing.num_frames)
  )


@dataclasses.dataclass(frozen=True)
class Action:
  """What a person does.

  Attributes:
    pose: Doing -> Posture.
    words: in the third person; one of them is chosen.
    travels: whether it goes somewhere, at a pace that is named.
    seen_from: headings from which it can be told.
  """

  pose: Callable[[Doing], human_bodies.Posture]
  words: tuple[str, ...]
  travels: bool = False
  seen_from: tuple[str, ...] = ("left", "right", "closer")


_ANY = ("left", "right", "left", "right", "closer")
_FRONT, _SIDES = ("closer", "closer", "away"), ("left", "right")
ACTIONS = (
  Action(walks, ("walks", "walks", "goes", "strides"), True, _ANY),
  Action(walks, ("walks", "walks", "goes", "strides"), True, _ANY),
  Action(runs, ("runs", "runs", "jogs"), True, _ANY),
  Action(
    waves_one_arm,
    ("waves an arm", "waves", "waves with one arm"),
    seen_from=_FRONT,
  ),
  Action(
    waves_both_arms,
    ("waves both arms", "waves with both arms"),
    seen_from=_FRONT,
  ),
  Action(jumps, ("jumps up and down", "jumps on the spot", "hops")),
  Action(
    squats,
    ("does squats", "bends the knees", "goes up and down"),
    seen_from=_SIDES,
  ),
  Action(jacks, ("does jumping jacks",), seen_from=_FRONT),
  Action(
    kicks, ("kicks with one leg", "kicks a leg forward"), seen_from=_SIDES
  ),
  Action(bows, ("bows", "bends forward", "takes a bow"), seen_from=_SIDES),
  Action(turns, ("turns on the spot", "turns around")),
)


def _dress(look, height) -> tuple[human_bodies.Clothes, str]:
  """Draws clothes and the words for them."""

  def plain(colour):
    return appearance.object_material(look, colour, "plain", height)

  shirt, trousers = (
    randomness.pick(look, tuple(textures.PALETTE)) for _ in range(2)
  )
  pattern = randomness.pick(look, textures.PATTERNS)
  clothes = human_bodies.Clothes(
    skin=textures.flat(appearance.skin_colour(look)),
    hair=plain(randomness.pick(look, ("black", "brown", "orange", "yellow"))),
    shirt=appearance.object_material(look, shirt, pattern, 0.12 * height),
    trousers=plain(trousers),
    shoes=plain(randomness.pick(look, ("black", "white", "brown", "red"))),
  )
  top = f"{shirt} {appearance.PATTERN_WORDS[pattern]}shirt"
  return clothes, f"{top} and {trousers} trousers"


def person(
  draws: drafts.Draws, shot: shots.Shot, num_frames: int
) -> drafts.Draft:
  """A person does something; what, and which way, is seen in the picture."""
  look = draws.look
  height = 4.3 * shot.radius
  clothes, dress = _dress(look, height)
  action = randomness.pick(look, ACTIONS)
  where = randomness.pick(look, action.seen_from)
  heading = np.radians(articulation.HEADINGS[where] + look.uniform(-25, 25))
  pace = randomness.pick(draws.words, tuple(_PACE))
  posture = action.pose(Doing(draws, height, num_frames, pace))
  ground = shot.subject * [1, 0, 1]
  frame = articulation.standing(ground, heading, num_frames)
  verb = randomness.pick(draws.words, action.words)
  subject = randomness.pick(
    draws.words, (f"a person in a {dress}", f"someone in a {dress}")
  )
  subject = subject.replace("a orange", "an orange")
  sentence = f"{subject} {verb}"
  if action.travels:
    way = where if where == "closer" else f"to the {where}"
    sentence += f" {pace} {way}"
  reach = shot.metres(0.5) if action.travels else 1.5 * shot.radius
  zone = (reach + shot.radius, 1.8 * shot.radius)
  items = human_bodies.body(frame, posture, height, clothes)
  return drafts.Draft(tuple(items), sentence, zone)
