"""What devices tell each other, read from a compiled program's text."""

import collections
import dataclasses
import math
import re
from collections.abc import Mapping

KINDS = (
  "all-gather",
  "all-reduce",
  "reduce-scatter",
  "all-to-all",
  "collective-permute",
)
# XLA's names of types and their bits.
_BITS = {
  "pred": 8,
  "bf16": 16,
  **{f"{kind}{bits}": bits for kind in "su" for bits in (2, 4, 8, 16, 32, 64)},
  **{f"f{bits}": bits for bits in (16, 32, 64)},
  "c64": 64,
}
_COMPUTATION = re.compile(r"^(?:ENTRY )?%?([\w.\-]+) .*\{$")
_INSTRUCTION = re.compile(
  r"^\s+(?:ROOT )?%?[\w.\-]+ = (?P<type>\(.*?\)|\S+) "
  r"(?P<name>[a-z][a-z0-9\-]*)\((?P<rest>.*)$"
)
_CALLED = re.compile(
  r"(?:body|calls|to_apply|true_computation|false_computation)=%?([\w.\-]+)"
)
_BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")
_TRIPS = re.compile(r"known_trip_count\D+(\d+)")
_ARRAY = re.compile(r"([a-z]+\d*[a-z0-9]*)\[([\d,]*)\]")


@dataclasses.dataclass(frozen=True)
class Traffic:
  """One kind of collective in one run of a program.

  Attributes:
    count: how often it is called.
    bytes: that each device receives in all, or sends where results are
      scattered.
  """

  count: int
  bytes: int


def read(text: str) -> dict[str, Traffic]:
  """Sums collectives by kind, those in loops as often as loops turn.

  Args:
    text: of `jax.stages.Compiled.as_text`. A loop whose turns the compiler
      does not know counts once.
  """
  computations, entry = _computations(text)
  found: dict[str, list[int]] = collections.defaultdict(lambda: [0, 0])
  pending = [(entry, 1)]
  while pending:
    name, times = pending.pop()
    for line in computations.get(name, ()):
      kind, size, called = _instruction(line)
      if kind:
        found[kind][0] += times
        found[kind][1] += times * size
      trips = _TRIPS.search(line)
      turns = times * int(trips[1]) if trips else times
      pending.extend((inner, turns) for inner in called)
  return {kind: Traffic(*found[kind]) for kind in KINDS if kind in found}


def total(traffic: Mapping[str, Traffic]) -> int:
  """Bytes of all kinds."""
  return sum(one.bytes for one in traffic.values())


def _computations(text: str) -> tuple[dict[str, list[str]], str]:
  """Name -> lines of each computation, and the name of the first to run."""
  found: dict[str, list[str]] = {}
  entry, lines = "", []
  for line in text.splitlines():
    header = _COMPUTATION.match(line)
    if header:
      lines = found[header[1]] = []
      entry = header[1] if line.startswith("ENTRY") else entry
    elif line.startswith((" ", "\t")):
      lines.append(line)
  return found, entry


def _instruction(line: str) -> tuple[str, int, list[str]]:
  """Kind and bytes of a collective, and the computations that are called."""
  match = _INSTRUCTION.match(line)
  if not match:
    return "", 0, []
  kind = match["name"].removesuffix("-done")
  called = list(_CALLED.findall(line))
  for branches in _BRANCHES.findall(line):
    called += [name.strip().lstrip("%") for name in branches.split(",")]
  if kind not in KINDS:
    return "", 0, called
  size = _bytes(match["type"])
  if kind == "reduce-scatter":
    size *= _participants(line)
  return kind, size, []


def _bytes(type_text: str) -> int:
  """Bytes of an array, or of a tuple of them."""
  bits = 0
  for kind, shape in _ARRAY.findall(type_text):
    width = _BITS.get(kind, 8)  # Types of 8 bits have many names.
    bits += width * math.prod(map(int, filter(None, shape.split(","))))
  return bits // 8


def _participants(line: str) -> int:
  """Devices that share one result."""
  grid = re.search(r"replica_groups=\[\d+,(\d+)\]", line)
  if grid:
    return int(grid[1])
  listed = re.search(r"replica_groups=\{\{([\d,]+)\}", line)
  if listed:
    return len(listed[1].split(","))
  mesh = re.search(r"replica_groups=mesh\[([^\]]*)\] \{([^}]*)\}", line)
  if mesh:
    sizes = dict(re.findall(r"'(\w+)'=(\d+)", mesh[1]))
    return math.prod(
      int(sizes[name]) for name in re.findall(r"'(\w+)'", mesh[2])
    )
  return 1
