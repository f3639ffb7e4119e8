"""Which way of dividing a program over devices is the fastest that fits."""

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator, Sequence

from more4d_jax import errors, partitioning
from more4d_jax.planning import report

# Of a device's memory that arguments may take, so that there is room to work.
_ROOM = 0.9


@dataclasses.dataclass(frozen=True)
class Candidate:
  """One way to run a program.

  Attributes:
    label: what sets it apart.
    held: exact bytes of the arguments on each device.
    cost: candidates of low cost are compiled first.
    plan: compiles it.
  """

  label: str
  held: int
  cost: tuple[int, ...]
  plan: Callable[[], report.Plan]


def meshes(count: int) -> Iterator[partitioning.MeshConfig]:
  """All ways to lay a number of devices out along the axes of a mesh."""
  divisors = [n for n in range(1, count + 1) if count % n == 0]
  for first in itertools.product(divisors, repeat=3):
    rest, left = divmod(count, math.prod(first))
    if not left and rest:
      yield partitioning.MeshConfig(*first, rest)


def mesh_cost(mesh: partitioning.MeshConfig) -> tuple[int, ...]:
  """Sorts meshes by what devices tell each other, before anything is known.

  Samples of their own cost least; sharing parameters is cheaper than sharing
  a sample's tokens or widths, which devices exchange in every layer.
  """
  return (
    mesh.context * mesh.tensor,
    max(mesh.context, mesh.tensor),
    mesh.tensor,
    mesh.data,
  )


def best(
  candidates: Sequence[Candidate],
  memory: int,
  tries: int,
  wanted: int = 3,
  say: Callable[[str], None] = print,
) -> list[report.Plan]:
  """The fastest of the candidates that fit.

  Candidates whose arguments alone are too large are not compiled; others are
  in the order of their cost, until so many fit or so many were tried.

  Args:
    candidates: ways to run the program.
    memory: bytes of one device.
    tries: programs that are compiled at most.
    wanted: how many plans are returned, at most.
    say: told about every program that is compiled.

  Returns: plans that fit, by their time.

  Raises:
    UserError: if nothing fits.
  """
  if not candidates:
    raise errors.UserError(
      "no mesh divides this program: change batch_size or the number of devices"
    )
  least = min(candidates, key=lambda one: one.held)
  if least.held > memory:
    raise errors.UserError(
      f"nothing fits: what has to be held is {report.gib(least.held)} GiB on "
      f"each device at least ({least.label}), a device has "
      f"{report.gib(memory)}: take more or larger devices, a smaller network "
      "or a LoRA"
    )
  small = [one for one in candidates if one.held <= _ROOM * memory] or [least]
  small.sort(key=lambda one: one.cost)
  say(
    f"{len(candidates)} ways, {len(small)} of them with room beside what is "
    f"held; compiling at most {tries}"
  )
  plans, fitting = [], []
  for one in small[:tries]:
    plan = one.plan()
    plans.append(plan)
    say(f"{one.label}: {report.verdict(plan)}; {plan.seconds:.3g} s")
    if plan.fits:
      fitting.append(plan)
    if len(fitting) == wanted:
      break
  if not fitting:
    nearest = min(plans, key=lambda plan: plan.figures.together)
    raise errors.UserError(
      f"none of {len(plans)} compiled programs fits; the nearest, "
      f"{nearest.title}, takes {report.gib(nearest.figures.together)} of "
      f"{report.gib(memory)} GiB on each device: take more or larger devices, "
      "or a smaller batch_size"
    )
  return sorted(fitting, key=lambda plan: plan.seconds)
