"""Report of an import: what it took, mended and refused, and why."""

import collections
import dataclasses
import json
import pathlib
import re
from collections.abc import Iterable, Mapping
from typing import Any

_EXAMPLES = 5
_NUMBER = re.compile(r"(?<!\w)\d+(?:\.\d+)?(?:e[+-]\d+)?(?!\w)")


@dataclasses.dataclass(frozen=True)
class Report:
  """Counts, and a line for every scene that needed one.

  Attributes:
    found: scenes, clips of long ones each counted.
    taken: records made; `mended` of them needed something.
    mended: see above.
    mended_reasons: what was mended -> how often. Reasons that differ in
      their numbers only stand together, under the first one's words.
    refused: why there is no record -> how often, counted in the same way.
    scenes: name, whether it was taken, notes; only those with notes.
  """

  found: int
  taken: int
  mended: int
  mended_reasons: dict[str, int]
  refused: dict[str, int]
  scenes: list[dict[str, Any]]

  def as_text(self) -> str:
    """For people: counts, reasons and a few names."""
    lines = [
      f"{self.found} scenes: {self.taken} taken, {self.mended} of them "
      f"mended, {self.found - self.taken} refused"
    ]
    for title, reasons, taken in (
      ("mended", self.mended_reasons, True),
      ("refused", self.refused, False),
    ):
      for reason, count in reasons.items():
        names = [
          scene["name"]
          for scene in self.scenes
          if scene["taken"] == taken
          and without_numbers(reason) in map(without_numbers, scene["notes"])
        ]
        more = ", ..." if len(names) > _EXAMPLES else ""
        shown = ", ".join(names[:_EXAMPLES])
        lines.append(f"{title} {count}: {reason} ({shown}{more})")
    return "\n".join(lines)

  @staticmethod
  def reasons_line(reasons: Mapping[str, int]) -> str:
    """Reasons and their counts in one line."""
    return "; ".join(f"{reason} ({count})" for reason, count in reasons.items())


def of(entries: Iterable[Mapping[str, Any]]) -> Report:
  """Counts the outcomes of all scenes.

  Args:
    entries: `name`, `part` (None if refused) and `notes` of each.
  """
  entries = list(entries)
  taken = [entry for entry in entries if entry["part"] is not None]
  return Report(
    found=len(entries),
    taken=len(taken),
    mended=sum(bool(entry["notes"]) for entry in taken),
    mended_reasons=_count(taken),
    refused=_count(e for e in entries if e["part"] is None),
    scenes=[
      {
        "name": entry["name"],
        "taken": entry["part"] is not None,
        "notes": list(entry["notes"]),
      }
      for entry in entries
      if entry["notes"]
    ],
  )


def load(path: pathlib.Path) -> Report:
  """The report that an import has left."""
  return Report(**json.loads(path.read_text()))


def without_numbers(note: str) -> str:
  """A note with `#` for every number."""
  return _NUMBER.sub("#", note)


def _count(entries: Iterable[Mapping[str, Any]]) -> dict[str, int]:
  first: dict[str, str] = {}
  counted: collections.Counter[str] = collections.Counter()
  for entry in entries:
    for note in entry["notes"]:
      counted[first.setdefault(without_numbers(note), note)] += 1
  return dict(counted.most_common())
