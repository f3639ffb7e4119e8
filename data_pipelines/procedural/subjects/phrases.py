"""Captions of version 3: one event in many words, with place and camera."""

import re

import numpy as np

from data_pipelines.procedural import randomness

LONGEST = 96
"""Letters of a caption; what it can do without is left out."""

# What a sentence of the subjects may say in other words.
_SYNONYMS = (
  (r"\bto the (left|right)\b", ("to the {0}", "towards the {0}", "{0}wards")),
  (r"\bslowly\b", ("slowly", "at a slow pace", "without haste", "leisurely")),
  (r"\bquickly\b", ("quickly", "fast", "at speed", "rapidly", "swiftly")),
  (r"\bcloser\b", ("closer", "towards the camera", "nearer")),
  (r"\baway\b", ("away", "away from the camera", "into the distance")),
  (r"\bin the wind\b", ("in the wind", "in the breeze", "as the wind blows")),
  (r"\bgently\b", ("gently", "softly", "a little")),
  (r"\bstrongly\b", ("strongly", "wildly", "a lot")),
  (r"\bup and down\b", ("up and down", "again and again")),
  (r"\bfrom side to side\b", ("from side to side", "to and fro")),
)
# {s} the event, {p} the place, {l} the light, {c} the camera.
_WITHOUT_CAMERA = (
  "{s}",
  "{s} {p}",
  "{p}, {s}",
  "{s} {p} {l}",
  "{s} {l}",
  "{l}, {s}",
  "{p} {l}, {s}",
  "a clip in which {s}",
  "a video: {s} {p}",
  "we see how {s} {p}",
  "here {s} {p}",
  "a scene {p}: {s}",
)
_WITH_CAMERA = (
  "{s}, {c}",
  "{s} {p}, {c}",
  "{c}: {s}",
  "{c}, {s} {p}",
  "{p}, {s}; {c}",
  "{s} {l}, {c}",
)


def _varied(rng, sentence):
  """Returns the sentence with other words of the same meaning."""
  for pattern, words in _SYNONYMS:
    if re.search(pattern, sentence):
      word = randomness.pick(rng, words)
      sentence = re.sub(
        pattern, lambda found, w=word: w.format(*found.groups()), sentence
      )
  return sentence


def caption(
  rng: np.random.Generator,
  sentence: str,
  place: str,
  light: str,
  camera: str,
) -> str:
  """Says what happens, in one of many wordings.

  Args:
    rng: chooses the wording; it does not depend on the words.
    sentence: what the actor does.
    place: where, for instance "on a street".
    light: the light, or nothing.
    camera: what the camera does.
  """
  told = rng.random() < 0.35
  patterns = _WITH_CAMERA if told else _WITHOUT_CAMERA
  order = rng.permutation(len(patterns))
  varied = _varied(rng, sentence)
  for event in (varied, sentence):
    for number in order:
      pattern = patterns[number]
      if "{l}" in pattern and not light:
        continue
      words = pattern.format(s=event, p=place, l=light, c=camera)
      if len(words) <= LONGEST:
        return words
  return sentence


def joined(first: str, second: str, rng: np.random.Generator) -> str:
  """Joins the sentences of two actors, or keeps the first if it is long."""
  link = randomness.pick(rng, (" and ", " while ", ", and "))
  both = f"{first}{link}{second}"
  return both if len(both) <= LONGEST - 14 else first
