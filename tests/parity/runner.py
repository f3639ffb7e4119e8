"""Compares what the adapters compute with stored arrays, key by key.

A folder holds `config.json`, `io.safetensors` and mostly
`weights.safetensors`; the folder "manifest" holds names and shapes only. The
adapter of the same name computes values for keys of
`io.safetensors`; `bounds.json`, beside the folders, says which keys are
required and how close they must be.
"""

import dataclasses
import importlib
import importlib.util
import json
import pathlib
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping

import numpy as np
from safetensors import numpy as safetensors_numpy

MANIFESTS = "manifest"  # Its folder holds names and shapes, no arrays.
KEYS = re.compile(r"(out|grad|merged|mid)\.")

# Beyond integers and booleans: chosen timesteps must be equal (bounds.json).
_EXACT = re.compile(r"schedulers/out\.(unipc|dpm)[^.]*\.timesteps$")


@dataclasses.dataclass(frozen=True)
class Bounds:
  """What `bounds.json` says.

  Attributes:
    values: folder -> largest relative error.
    gradient: the same for keys that start with "grad.".
    images: pattern of keys where a share of the pixels may differ.
    diagnostic: patterns of keys that are shown but not counted.
    out_of_scope: patterns of keys that are left out, each with its reason.
  """

  values: Mapping[str, float]
  gradient: float
  images: str
  diagnostic: tuple[str, ...]
  out_of_scope: Mapping[str, str]

  @classmethod
  def load(cls, path: pathlib.Path) -> "Bounds":
    """Reads the file."""
    values = json.loads(path.read_text())
    return cls(
      values=values["bound"],
      gradient=values["gradient_bound"],
      images=values["images"]["keys"],
      diagnostic=tuple(values["diagnostic"]),
      out_of_scope=values["out_of_scope"],
    )

  def status(self, folder: str, key: str, inputs: frozenset[str]) -> str:
    """Returns "required", "diagnostic" or "out_of_scope".

    A key whose reason is a missing random draw is required where the draw is
    stored, as `in.<case>.eps`.
    """
    name = f"{folder}/{key}"
    for pattern, reason in self.out_of_scope.items():
      if re.match(pattern, name):
        stored = f"in.{key.split('.')[1]}.eps" in inputs
        needed = stored and "then required" in reason
        return "required" if needed else "out_of_scope"
    if any(re.match(pattern, name) for pattern in self.diagnostic):
      return "diagnostic"
    return "required"

  def of(self, folder: str, key: str) -> float:
    """Largest relative error a key may have."""
    if key.startswith("grad."):
      return self.gradient
    return self.values[folder]


@dataclasses.dataclass(frozen=True)
class Cancelling:
  """A value that is zero in exact arithmetic: both sides hold rounding.

  Its error is judged against what cancels in it instead of its own size.

  Attributes:
    value: ours.
    size: largest magnitude among values of the same kind.
  """

  value: np.ndarray
  size: float


Result = np.ndarray | Cancelling


@dataclasses.dataclass(frozen=True)
class Line:
  """Result of one key; errors are NaN where it was not run."""

  name: str
  status: str
  max_abs: float
  max_rel: float
  bound: float
  verdict: str

  def __str__(self) -> str:
    note = "" if self.status == "required" else f" ({self.status})"
    return (
      f"{self.name} {self.max_abs:.3g} {self.max_rel:.3g} {self.bound:.3g} "
      f"{self.verdict}{note}"
    )


def difference(ours: np.ndarray, theirs: np.ndarray) -> tuple[float, float]:
  """Largest absolute difference, and it over the largest stored magnitude.

  Values that are not finite must be the same ones; otherwise both are inf.
  """
  if ours.shape != theirs.shape:
    return np.inf, np.inf
  if not theirs.size:
    return 0.0, 0.0
  a, b = ours.astype(np.float64), theirs.astype(np.float64)
  same = (a == b) | (np.isnan(a) & np.isnan(b))
  if not (np.isfinite(a) & np.isfinite(b) | same).all():
    return np.inf, np.inf
  gap = float(np.abs(np.where(same, 0.0, a) - np.where(same, 0.0, b)).max())
  size = float(np.abs(np.where(np.isfinite(b), b, 0.0)).max())
  return gap, gap / size if size else (np.inf if gap else 0.0)


def share_of_pixels(
  ours: np.ndarray, theirs: np.ndarray, bound: float
) -> float:
  """Share of pixels that differ by more than the bound.

  A last axis of size 3 holds the colours of a pixel; every other position is
  a pixel.
  """
  if ours.shape != theirs.shape:
    return 1.0
  a, b = ours.astype(np.float64), theirs.astype(np.float64)
  size = max(float(np.abs(b).max()), 1e-30)
  wrong = np.abs(a - b) > bound * size
  if wrong.ndim > 2 and wrong.shape[-1] == 3:
    wrong = wrong.any(axis=-1)
  return float(wrong.mean())


def compare(
  folder: str, key: str, ours: Result | None, theirs: np.ndarray, **rule
) -> Line:
  """Judges one key; `rule` holds `bounds` and `status`."""
  bounds, status, name = rule["bounds"], rule["status"], f"{folder}/{key}"
  bound = bounds.of(folder, key)
  exact = theirs.dtype.kind in "biu" or _EXACT.match(name)
  bound = 0.0 if exact else bound
  if ours is None:
    return Line(name, status, np.nan, np.nan, bound, "NOT-RUN")
  if isinstance(ours, Cancelling):
    max_abs, _ = difference(np.asarray(ours.value), theirs)
    max_rel = max_abs / ours.size
  else:
    ours = np.asarray(ours)
    max_abs, max_rel = difference(ours, theirs)
  passed = max_rel <= bound
  if re.match(bounds.images, name):
    passed = share_of_pixels(ours, theirs, bound) <= 0.005
  verdict = "PASS" if passed else "FAIL"
  return Line(name, status, max_abs, max_rel, bound, verdict)


def find_adapter(folder: str) -> Callable | None:
  """Returns `run` of tests/parity/adapters/<folder>.py, None without one."""
  name = f"tests.parity.adapters.{folder}"
  if importlib.util.find_spec(name) is None:
    return None
  return importlib.import_module(name).run


def run_folder(
  folder: pathlib.Path, bounds: Bounds, run: Callable | None
) -> Iterator[Line]:
  """Yields a line for each key that counts or was computed anyway.

  A folder need not hold every case that its adapter knows.
  """
  stored = safetensors_numpy.load_file(folder / "io.safetensors")
  results = {} if run is None else run(folder)
  inputs = frozenset(key for key in stored if key.startswith("in."))
  for key, theirs in sorted(stored.items()):
    if not KEYS.match(key):
      continue
    status = bounds.status(folder.name, key, inputs)
    ours = results.get(key)
    if status == "required" or ours is not None:
      rule = {"bounds": bounds, "status": status}
      yield compare(folder.name, key, ours, theirs, **rule)


def run_manifests(folder: pathlib.Path, run: Callable | None) -> Iterator[Line]:
  """Yields a line for each manifest: a file of names and shapes.

  The largest absolute error is the number of names that are wrong.
  """
  results = {} if run is None else run(folder)
  for path in sorted(folder.glob("*.json")):
    name, wrong = f"{folder.name}/{path.stem}", results.get(path.stem)
    if wrong is None:
      yield Line(name, "required", np.nan, np.nan, 0.0, "NOT-RUN")
      continue
    for fault in wrong:
      print(f"{name}: {fault}", file=sys.stderr)
    verdict = "FAIL" if wrong else "PASS"
    size = float(len(wrong))
    yield Line(name, "required", size, np.inf if wrong else 0.0, 0.0, verdict)


def lines_of(
  folder: pathlib.Path,
  bounds: Bounds,
  adapter: Callable[[str], Callable | None],
) -> list[Line]:
  """All lines of a folder; one that fails where anything in it raises."""
  try:
    run = adapter(folder.name)
    if folder.name == MANIFESTS:
      return list(run_manifests(folder, run))
    return list(run_folder(folder, bounds, run))
  except Exception:  # Reported and counted; the other folders still run.
    print(f"{folder.name}: its adapter raised", file=sys.stderr)
    traceback.print_exc()
    return [Line(folder.name, "required", np.nan, np.nan, np.nan, "FAIL")]


def run_directory(
  directory: pathlib.Path,
  only: tuple[str, ...] = (),
  adapter: Callable[[str], Callable | None] = find_adapter,
) -> int:
  """Runs every folder, prints lines and the counts, returns the exit status."""
  bounds = Bounds.load(directory / "bounds.json")
  counts = {"PASS": 0, "FAIL": 0, "NOT-RUN": 0}
  folders = [
    path
    for path in sorted(directory.iterdir())
    if (path.name == MANIFESTS or (path / "io.safetensors").exists())
    and (not only or path.name in only)
  ]
  if not folders:
    print(f"error: {directory} holds no folder to run", file=sys.stderr)
    return 2
  for folder in folders:
    for line in lines_of(folder, bounds, adapter):
      print(line, flush=True)
      if line.status == "required":
        counts[line.verdict] += 1
  print(
    f"passed {counts['PASS']} failed {counts['FAIL']} "
    f"not-run {counts['NOT-RUN']}"
  )
  return 0 if counts["FAIL"] + counts["NOT-RUN"] == 0 else 1
