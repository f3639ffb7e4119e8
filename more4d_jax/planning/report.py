"""A plan as text for people and as numbers for programs."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from jax.sharding import AbstractMesh, Mesh

from more4d_jax.planning import collectives, devices, programs

# Share of the peak that good trainers of video transformers reach.
UTILISATION = 0.4
# jax takes this share of a GPU's memory unless it is told otherwise.
_GPU_SHARE = 0.75
GIB = 2**30


@dataclasses.dataclass(frozen=True)
class Plan:
  """A program on a group of devices, and what it needs.

  Attributes:
    title: the program and how it is divided.
    group: devices it is planned for.
    figures: what it needs.
    remarks: what else there is to say.
    advice: what to change first if it does not fit.
  """

  title: str
  group: devices.Group
  figures: programs.Figures
  remarks: Sequence[str] = ()
  advice: str = ""

  @property
  def fits(self) -> bool:
    """Whether one device's memory is enough."""
    return self.figures.together <= self.group.memory

  @property
  def compute_seconds(self) -> float:
    """Time of one run at `UTILISATION`; 0 where the peak is not known."""
    peak = self.group.kind.peak * self.group.count * UTILISATION
    return self.figures.operations / peak if peak else 0.0

  @property
  def traffic_seconds(self) -> float:
    """Time of its collectives, one after the other."""
    link = self.group.kind.link
    return collectives.total(self.figures.traffic) / link if link else 0.0

  @property
  def seconds(self) -> float:
    """Time of one run where nothing overlaps."""
    return self.compute_seconds + self.traffic_seconds


def sizes(mesh: Mesh | AbstractMesh) -> str:
  """Axes of a mesh and their sizes."""
  return " x ".join(f"{name} {size}" for name, size in mesh.shape.items())


def gib(size: int) -> str:
  """Bytes in GiB, small ones with more digits."""
  return f"{size / GIB:.2f}" if size >= GIB / 100 else f"{size / GIB:.5f}"


def table(plan: Plan) -> str:
  """The plan as lines of text."""
  figures, group = plan.figures, plan.group
  lines = [plan.title, f"on {group.describe()}", *plan.remarks]
  lines.append("GiB on each device:")
  rows = {**figures.held}
  if figures.refused:
    rows["all together"] = figures.refused
  else:
    rows |= {
      "padding of these": figures.padding,
      "temporaries": figures.temporaries,
      "results": figures.results,
      "program": figures.code,
      "all together": figures.together,
    }
  if figures.waiting:
    rows["in the host's memory"] = figures.waiting
  if figures.peak:
    rows["in use at once"] = figures.peak
  lines += [f"  {name:22s}{gib(size):>12s}" for name, size in rows.items()]
  lines.append(verdict(plan))
  if figures.traffic:
    lines.append("each device receives in one run:")
    lines += [
      f"  {kind:20s}{one.count:>8,} times{gib(one.bytes):>12s} GiB"
      for kind, one in figures.traffic.items()
    ]
  if figures.copied:
    lines.append(
      f"{figures.copied} tensors are copied whole to every device where their "
      "layout changes"
    )
  lines.append(_time(plan))
  lines.append(
    f"compiled in {figures.seconds:.0f} s; this process took "
    f"{gib(figures.host_bytes)} GiB"
  )
  return "\n".join(lines)


def verdict(plan: Plan) -> str:
  """Whether it fits, and what to change if not."""
  needed, there = plan.figures.together, plan.group.memory
  of = f"{gib(needed)} of {gib(there)} GiB on each device"
  if not plan.fits:
    return f"does not fit: {of}; {plan.advice}".rstrip("; ")
  if plan.group.kind.platform == "cuda" and needed > _GPU_SHARE * there:
    return f"fits: {of}, with XLA_PYTHON_CLIENT_MEM_FRACTION=0.95"
  return f"fits: {of}"


def _time(plan: Plan) -> str:
  text = f"operations: {plan.figures.operations:.3g}, recomputation included"
  kind = plan.group.kind
  if kind.peak:
    text += (
      f"; {plan.compute_seconds:.3g} s at {UTILISATION:.0%} of "
      f"{plan.group.count} x {kind.peak / 1e12:.0f} TFLOP/s"
    )
  if plan.traffic_seconds:
    text += (
      f", and {plan.traffic_seconds:.3g} s for what devices receive, at "
      f"{kind.link / 1e9:.0f} GB/s, where it does not overlap"
    )
  return text


def as_json(plan: Plan) -> dict[str, Any]:
  """The plan's numbers, for a JSON file; bytes are those of one device."""
  figures = dataclasses.asdict(plan.figures)
  return {
    "program": plan.title,
    "devices": plan.group.name,
    "description": plan.group.describe(),
    "memory": plan.group.memory,
    "together": plan.figures.together,
    "fits": plan.fits,
    "compute_seconds": plan.compute_seconds,
    "traffic_seconds": plan.traffic_seconds,
    "utilisation": UTILISATION,
    "remarks": list(plan.remarks),
    "advice": plan.advice,
    **figures,
  }
