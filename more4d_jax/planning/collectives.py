"""What devices tell each other, read from a compiled program's text."""

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence

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

  A TPU's compiler spreads one collective over several fusions, so that its
  work is hidden behind theirs; they share a channel and count once.

  Args:
    text: of `jax.stages.Compiled.as_text`. A loop whose turns cannot be told
      counts once.
  """
  computations, entry = _computations(text)
  found: dict[tuple[str, str], tuple[int, int]] = {}
  pending = [(entry, 1)]
  while pending:
    name, times = pending.pop()
    for number, line in enumerate(computations.get(name, ())):
      kind, size, called = _instruction(line)
      if kind:
        channel = re.search(r"channel_id=(\d+)", line)
        key = kind, channel[0] if channel else f"{name} {number}"
        old = found.get(key, (0, 0))
        found[key] = max(old[0], times), max(old[1], times * size)
      turns = times * _turns(line, computations)
      pending.extend((inner, turns) for inner in called)
  sums = {}
  for kind in KINDS:
    ones = [one for key, one in found.items() if key[0] == kind]
    if ones:
      sums[kind] = Traffic(*map(sum, zip(*ones, strict=True)))
  return sums


def _turns(line: str, computations: Mapping[str, Sequence[str]]) -> int:
  """How often the loop of an instruction turns; 1 of other instructions."""
  known = re.search(r"known_trip_count\D+(\d+)", line)
  if known:
    return int(known[1])
  condition = re.search(r"condition=%?([\w.\-]+)", line)
  lines = computations.get(condition[1], ()) if condition else ()
  # Loops of scans count from 0 up to a constant.
  limits = re.findall(r"s32\[\]\S* constant\((\d+)\)", "\n".join(lines))
  below = any("direction=LT" in one for one in lines)
  return int(limits[0]) if below and len(limits) == 1 else 1


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
