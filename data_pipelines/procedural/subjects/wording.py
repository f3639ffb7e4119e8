"""Sentences about what moves and how."""

import numpy as np

from data_pipelines.procedural import randomness
from data_pipelines.procedural.stage import appearance

NUMBERS = ("no", "one", "two", "three", "four", "five", "six")
_PARTICIPLES = {
  "rolls": "rolling",
  "slides": "sliding",
  "glides": "gliding",
  "walks": "walking",
  "moves": "moving",
  "drives": "driving",
}


def with_article(words: str) -> str:
  """Puts "a" or "an" in front of words."""
  return ("an " if words[0] in "aeiou" else "a ") + words


def thing(colour: str, pattern: str, noun: str) -> str:
  """Returns for instance "a red striped ball"."""
  return with_article(f"{colour} {appearance.PATTERN_WORDS[pattern]}{noun}")


def sideways(
  rng: np.random.Generator, subject: str, verb: str, words: tuple[str, str]
) -> str:
  """Says that a subject moves to a side, in one of several wordings.

  Args:
    rng: chooses the wording; it does not depend on the words.
    subject: with article.
    verb: third person.
    words: ("slowly" or "quickly", "left" or "right").
  """
  speed, side = words
  patterns = (
    "{subject} {verb} {speed} to the {side}",
    "{subject} {verb} {speed} to the {side}",
    "{subject} {verb} to the {side} {speed}",
    "{subject} {speed} {verb} {side}",
    "{subject} moves {speed} to the {side}",
    "{subject} is {participle} {speed} towards the {side}",
  )
  return randomness.pick(rng, patterns).format(
    subject=subject,
    verb=verb,
    participle=_PARTICIPLES[verb],
    speed=speed,
    side=side,
  )
