"""Thresholds, decisions, duplicates and histograms of curation.

Functions of plain values, alike for the local run and for Beam.
"""

import collections
import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from more4d_jax import errors

DUPLICATE = "duplicate"
VERDICT = "caption"
_BANDS = 12  # Of 16 bits each; see `bands`.
_BINS = 20


@dataclasses.dataclass(frozen=True)
class Filter:
  """One measure and its threshold.

  Attributes:
    threshold: default.
    bound: whether the threshold is the most or the least that is kept.
    why: what is wrong beyond it.
    source: the paper, or ours.
  """

  threshold: float
  bound: Literal["most", "least"]
  why: str
  source: Literal["paper", "ours"] = "ours"

  def keeps(self, value: float, threshold: float) -> bool:
    """Whether a value is on the right side."""
    return value <= threshold if self.bound == "most" else value >= threshold


FILTERS: Mapping[str, Filter] = {
  "invalid_depth": Filter(
    0.1, "most", "too many tracks at zero or nearly infinite depth", "paper"
  ),
  "depth_spread": Filter(1.5, "most", "the scene's depth spreads far", "paper"),
  "scale": Filter(0.01, "most", "the scaled cloud looks different", "paper"),
  "visible": Filter(0.3, "least", "too little is seen over time"),
  "motion": Filter(0.005, "least", "nothing moves"),
  "jerk": Filter(0.1, "most", "the tracks tremble"),
  "reprojection": Filter(0.5, "most", "tracks do not start at their pixels"),
  "letterbox": Filter(0.02, "most", "dark bars"),
  "frozen": Filter(0.5, "most", "the film stands still"),
  "flat": Filter(0.2, "most", "frames of one colour"),
  DUPLICATE: Filter(10, "least", "looks like another record"),
}
"""Name -> filter. The measure of duplicates is the number of differing bits
(of 192) to the nearest other record; the first by id is kept."""


def thresholds(settings: Iterable[str]) -> dict[str, float | None]:
  """Defaults, changed by settings like `motion=0.01` or `letterbox=off`.

  Raises:
    UserError: no such filter, or no number.
  """
  values: dict[str, float | None] = {n: f.threshold for n, f in FILTERS.items()}
  for setting in settings:
    name, equals, value = setting.partition("=")
    if name not in FILTERS or not equals:
      raise errors.UserError(
        f"no filter setting {setting!r}; expected NAME=NUMBER or NAME=off with "
        f"one of {', '.join(FILTERS)}"
      )
    try:
      values[name] = None if value == "off" else float(value)
    except ValueError as error:
      raise errors.UserError(
        f"{setting!r}: expected a number or off after ="
      ) from error
  limit = values[DUPLICATE]
  if limit is not None and not 0 <= limit <= _BANDS:
    raise errors.UserError(
      f"{DUPLICATE} is {limit:g}; expected at most {_BANDS} differing bits, "
      f"what the search for near copies finds for certain"
    )
  return values


def reasons(
  measures: Mapping[str, Any], limits: Mapping[str, float | None]
) -> list[str]:
  """Names of the filters that refuse a record, duplicates left aside."""
  return [
    name
    for name, limit in limits.items()
    if name != DUPLICATE
    and limit is not None
    and not FILTERS[name].keeps(measures[name], limit)
  ]


def bands(measures: Mapping[str, Any]) -> list[str]:
  """Keys that two records share if fewer than 12 of their bits differ.

  A hash of 192 bits falls into 12 bands; fewer differences than bands leave
  one band without any.
  """
  text = measures["hash"]
  size = len(text) // _BANDS
  return [
    f"{number}:{text[number * size : (number + 1) * size]}"
    for number in range(_BANDS)
  ]


def near_copies(
  group: Iterable[tuple[str, str]], limit: float
) -> Iterator[tuple[str, tuple[int, str]]]:
  """Yields id -> (differing bits, the earlier id nearest to it).

  Args:
    group: id and hash of the records that share a band.
    limit: records that differ in fewer bits are copies.
  """
  ordered = sorted(set(group))
  words = [np.frombuffer(bytes.fromhex(text), np.uint8) for _, text in ordered]
  hashes = np.stack(words)
  for later in range(1, len(ordered)):
    apart = np.bitwise_count(hashes[:later] ^ hashes[later]).sum(1)
    nearest = int(apart.argmin())
    if apart[nearest] < limit:
      yield ordered[later][0], (int(apart[nearest]), ordered[nearest][0])


def copies(
  measured: Iterable[Mapping[str, Any]], limits: Mapping[str, float | None]
) -> dict[str, tuple[int, str]]:
  """Copies among the records that the other filters keep.

  Returns: id -> (differing bits, the earlier id nearest to it).
  """
  limit = limits[DUPLICATE]
  if limit is None:
    return {}
  groups = collections.defaultdict(list)
  for line in measured:
    if not reasons(line, limits):
      for band in bands(line):
        groups[band].append((line["id"], line["hash"]))
  found: dict[str, tuple[int, str]] = {}
  for group in groups.values():
    for name, copy_of in near_copies(group, limit):
      found[name] = min(copy_of, found.get(name, copy_of))
  return found


def decide(
  measures: Mapping[str, Any],
  limits: Mapping[str, float | None],
  copy_of: tuple[int, str] | None,
  verdict: str | None = None,
) -> dict[str, Any]:
  """The line about a record: its measures, and why it is refused.

  Args:
    measures: of `curation_measures`, with `id` and `index`.
    limits: of `thresholds`.
    copy_of: the nearest earlier record and the bits between, if it is near.
    verdict: why the caption is refused; None if it is not.
  """
  refused = reasons(measures, limits)
  line = dict(measures)
  if copy_of is not None:
    refused.append(DUPLICATE)
    line[DUPLICATE], line["copy_of"] = copy_of
  if verdict is not None:
    refused.append(VERDICT)
    line["verdict"] = verdict
  return {**line, "kept": not refused, "refused_by": refused}


def summary(
  lines: Sequence[Mapping[str, Any]], limits: Mapping[str, float | None]
) -> dict[str, Any]:
  """What the manifest says of every filter.

  Returns: name -> threshold, bound, why, source, number refused, and the
    histogram of its measure (edges and counts).
  """
  table = {}
  for name, limit in limits.items():
    found = FILTERS[name]
    values = [line[name] for line in lines if name in line]
    counts, edges = np.histogram(np.array(values, float), _BINS)
    table[name] = {
      "threshold": limit,
      "bound": found.bound,
      "why": found.why,
      "source": found.source,
      "refused": sum(name in line["refused_by"] for line in lines),
      "histogram": {"edges": edges.tolist(), "counts": counts.tolist()},
    }
  table[VERDICT] = {
    "why": "the judge of captions refused it or gave no readable verdict",
    "source": "paper",
    "refused": sum(VERDICT in line["refused_by"] for line in lines),
  }
  return table


def as_lines(lines: Iterable[Mapping[str, Any]]) -> bytes:
  """One line of JSON per record, in order of their place."""
  ordered = sorted(lines, key=lambda line: line["index"])
  return "".join(
    json.dumps(line, sort_keys=True) + "\n" for line in ordered
  ).encode()
