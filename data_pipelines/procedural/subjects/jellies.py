"""Soft things: jelly that squashes, sways, grows, hops; blobs that wobble."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from data_pipelines.procedural import randomness
from data_pipelines.procedural.bodies import (
  articulation,
  primitives,
  star_shapes,
  textures,
)
from data_pipelines.procedural.stage import appearance, shots
from data_pipelines.procedural.subjects import drafts, wording


def squashed(
  height: Float[np.ndarray, "T"],
) -> Float[np.ndarray, "T 3 3"]:
  """Returns stretches of equal volume with a height along y."""
  wide = 1 / np.sqrt(height)
  stretch = np.zeros((len(height), 3, 3))
  stretch[:, 0, 0] = stretch[:, 2, 2] = wide
  stretch[:, 1, 1] = height
  return stretch


def sheared(lean: Float[np.ndarray, "T"]) -> Float[np.ndarray, "T 3 3"]:
  """Returns stretches that move what is above (-y) to x by `lean` times it."""
  stretch = np.tile(np.eye(3), (len(lean), 1, 1))
  stretch[:, 0, 1] = -lean
  return stretch


def on_ground(
  stretch: Float[np.ndarray, "T 3 3"], size: Float[np.ndarray, "3"]
) -> Float[np.ndarray, "T"]:
  """Returns how far the lowest point of a stretched ellipsoid is below it."""
  return np.linalg.norm(stretch[:, 1] * size, axis=-1)


def _swing(draws, rate, num_frames):
  """Returns a sine that starts at a phase which the picture shows."""
  phase = draws.look.uniform(-0.4, 0.4)
  rate = rate * draws.hidden.uniform(0.85, 1.15)
  turn = phase + randomness.sign(draws.hidden) * 2 * np.pi * rate * (
    articulation.times(num_frames)
  )
  return np.sin(turn)


def _squash(draws, rate, num_frames):
  stretch = squashed(np.exp(0.42 * _swing(draws, rate, num_frames)))
  return stretch, np.zeros(num_frames)


def _sway(draws, rate, num_frames):
  return sheared(0.6 * _swing(draws, rate, num_frames)), np.zeros(num_frames)


def _hop(draws, rate, num_frames):
  """Stretches in the air, squashes on the ground."""
  rate = rate * draws.hidden.uniform(0.9, 1.15)
  beat = np.mod(0.15 + rate * articulation.times(num_frames), 1.0)
  flight = np.clip((beat - 0.3) / 0.7, 0, 1)
  press = np.sin(np.pi * np.clip(beat / 0.3, 0, 1))
  height = 1 - 0.35 * press + 0.25 * np.sin(np.pi * flight)
  return squashed(height), 4 * flight * (1 - flight)


def _grow(draws, rate, num_frames):
  size = 1 + 0.28 * rate * draws.hidden.uniform(0.85, 1.15) * (
    articulation.times(num_frames)
  )
  return size[:, None, None] * np.eye(3), np.zeros(num_frames)


def _shrink(draws, rate, num_frames):
  size = 1 - 0.3 * rate * draws.hidden.uniform(0.85, 1.15) * (
    articulation.times(num_frames)
  )
  return size[:, None, None] * np.eye(3), np.zeros(num_frames)


_Deform = Callable[
  [drafts.Draws, float, int],
  tuple[Float[np.ndarray, "T 3 3"], Float[np.ndarray, "T"]],
]
_DEFORMATIONS: dict[str, tuple[_Deform, tuple[str, ...]]] = {
  "squash": (_squash, ("squashes and stretches", "gets flat and tall")),
  "sway": (_sway, ("sways from side to side", "leans to and fro")),
  "hop": (_hop, ("hops on the spot", "hops up and down")),
  "grow": (_grow, ("grows", "swells", "gets larger")),
  "shrink": (_shrink, ("shrinks", "gets smaller")),
}
_RATE = {"slowly": 0.6, "quickly": 1.25}


def jelly(
  draws: drafts.Draws, shot: shots.Shot, num_frames: int
) -> drafts.Draft:
  """A soft body is deformed as a whole."""
  look = draws.look
  colour = randomness.pick(look, tuple(textures.PALETTE))
  pattern = randomness.pick(look, textures.MORE_PATTERNS)
  size = shot.radius * np.array([1.0, look.uniform(0.85, 1.25), 1.0])
  is_block = bool(look.random() < 0.3)
  if is_block:
    size = 0.8 * size
  material = appearance.object_material(look, colour, pattern, size[1])
  does = randomness.pick(draws.words, tuple(_DEFORMATIONS))
  pace = randomness.pick(draws.words, tuple(_RATE))
  deform, words = _DEFORMATIONS[does]
  stretch, lift = deform(draws, _RATE[pace], num_frames)
  below = on_ground(stretch, size)
  if is_block:
    below = np.abs(stretch[:, 1]) @ size
  yaw = look.uniform(-0.5, 0.5)
  ground = articulation.standing(shot.subject * [1, 0, 1], yaw, num_frames)
  # The middle of the foot stays where it is while the body leans.
  shift = -stretch[:, :, 1] * below[:, None]
  shift[:, 1] = -(below + 0.9 * shot.radius * lift)
  frame = articulation.moving(ground, shift)
  item = primitives.Primitive(
    "box" if is_block else "ellipsoid",
    size,
    frame.rotation,
    frame.origin,
    (material,),
    1,
    stretch=stretch,
  )
  noun = (
    "block of jelly"
    if is_block
    else randomness.pick(draws.words, ("jelly", "soft ball"))
  )
  subject = wording.thing(colour, pattern, noun)
  verb = randomness.pick(draws.words, words)
  sentence = f"{subject} {pace} {verb}"
  if does not in ("squash", "hop") and draws.words.random() < 0.5:
    sentence = f"{subject} {verb} {pace}"
  return drafts.Draft((item,), sentence, (2.2 * size[0], 2.0 * size[2]))


def wobbling(
  draws: drafts.Draws, shot: shots.Shot, num_frames: int
) -> drafts.Draft:
  """Bumps run over a blob that floats above the ground."""
  look, hidden = draws.look, draws.hidden
  colour = randomness.pick(look, tuple(textures.PALETTE))
  pattern = randomness.pick(look, textures.MORE_PATTERNS)
  radius = 0.95 * shot.radius
  material = appearance.object_material(look, colour, pattern, radius)
  count = int(look.integers(2, 4))
  directions = look.normal(size=(count, 3))
  directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
  pace = randomness.pick(draws.words, ("gently", "wildly"))
  rate = {"gently": 0.55, "wildly": 1.2}[pace]
  signs = np.array([randomness.sign(hidden) for _ in range(count)])
  bumps = star_shapes.Bumps(
    directions,
    look.uniform(0.2, 0.28, count) / np.sqrt(count),
    look.uniform(2.2, 3.6, count),
    look.uniform(0, 2 * np.pi, count),
    signs * rate * hidden.uniform(0.85, 1.15, count),
  )
  size = np.array([radius, bumps.largest * radius, 0.0])
  place = shot.subject * [1, 0, 1] - [0, size[1], 0]
  frame = articulation.standing(place, 0.0, num_frames)
  item = primitives.Primitive(
    "blob", size, frame.rotation, frame.origin, (material,), 1, bumps
  )
  noun = randomness.pick(draws.words, ("blob", "blob", "lumpy ball"))
  subject = wording.thing(colour, pattern, noun)
  verb = randomness.pick(draws.words, ("wobbles", "changes its shape"))
  sentence = f"{subject} {verb} {pace}"
  return drafts.Draft((item,), sentence, (1.4 * size[1], 1.4 * size[1]))
