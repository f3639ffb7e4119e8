"""Names of frames, and the order that they give."""

import re
from collections.abc import Sequence


def frame(number: int) -> str:
  """Name of a frame's picture."""
  return f"frame_{number:05d}.png"


def in_order(names: Sequence[str]) -> list[int]:
  """Positions of names, by their words and, as numbers, their digits.

  So 9.png comes before 10.png.
  """

  def key(position: int) -> list[tuple[int, int, str]]:
    parts = re.findall(r"[0-9]+|[^0-9]+", names[position])
    return [
      (0, int(part[:40]), "") if part[0].isdecimal() else (1, 0, part)
      for part in parts
    ]

  return sorted(range(len(names)), key=key)
