"""Which tensor of a program is the first that is not finite.

The program is traced and run an operation at a time; where an operation that
holds others (a scan, a rematerialised layer, a jitted function) gives what is
not finite, its insides are run so too. It takes as long as the insides need
and is for the moment after a training has failed.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.extend.core as jex_core
import jax.numpy as jnp
from jax.extend import source_info_util


@dataclasses.dataclass(frozen=True)
class Finding:
  """A tensor that is not finite though what it is made of is.

  Attributes:
    name: modules, and turns of scans, that lead to it.
    operation: that gives it, with its shape.
    value: "nan" or "inf".
    line: of the sources.
  """

  name: str
  operation: str
  value: str
  line: str

  def __str__(self) -> str:
    return f"{self.operation} in {self.name} is {self.value} ({self.line})"


def first(function: Callable[..., Any], *arguments: Any) -> Finding | None:
  """The first tensor that is not a number, or else the first infinite one.

  Masks may be infinite, so that an infinity counts only where nothing becomes
  not a number.

  Args:
    function: of trees of arrays.
    *arguments: of the function.
  """
  closed = jax.make_jaxpr(function)(*arguments)
  leaves = jax.tree.leaves(arguments)
  infinite: Finding | None = None
  for found in _walk(closed.jaxpr, closed.consts, leaves, ""):
    if found.value == "nan":
      return found
    infinite = infinite or found
  return infinite


def _is_float(x: Any) -> bool:
  return jnp.issubdtype(jnp.result_type(x), jnp.inexact)


def _state(values: Sequence[Any]) -> str:
  """The worst of some arrays: "nan", "inf" or nothing."""
  floats = [x for x in values if _is_float(x)]
  if any(bool(jnp.isnan(x).any()) for x in floats):
    return "nan"
  return "inf" if any(bool(jnp.isinf(x).any()) for x in floats) else ""


def _walk(
  jaxpr: jex_core.Jaxpr, consts: Sequence[Any], inputs: Sequence[Any], at: str
) -> Iterator[Finding]:
  """Runs a program; yields what becomes infinite or not a number in it."""
  values: dict[Any, Any] = {}

  def read(variable: Any) -> Any:
    literal = isinstance(variable, jex_core.Literal)
    return variable.val if literal else values[variable]

  values.update(zip(jaxpr.constvars, consts, strict=True))
  values.update(zip(jaxpr.invars, inputs, strict=True))
  last = {v: n for n, e in enumerate(jaxpr.eqns) for v in _variables(e.invars)}
  for number, equation in enumerate(jaxpr.eqns):
    given = [read(v) for v in equation.invars]
    made = _run(equation, given)
    after = _state(made)
    if after and after != _state(given):
      yield from _within(equation, given, made, at, after)
    values.update(zip(equation.outvars, made, strict=True))
    for variable in _variables(equation.invars):
      if last[variable] == number:  # Not needed any more.
        values.pop(variable, None)


def _variables(atoms: Sequence[Any]) -> list[Any]:
  return [a for a in atoms if not isinstance(a, jex_core.Literal)]


def _run(equation: Any, given: Sequence[Any]) -> list[Any]:
  params = equation.primitive.get_bind_params(equation.params)
  made = equation.primitive.bind(*given, **params)
  return list(made) if equation.primitive.multiple_results else [made]


def _within(
  equation: Any, given: Sequence[Any], made: Sequence[Any], at: str, state: str
) -> Iterator[Finding]:
  """What is found inside an operation, or the operation itself."""
  at = "/".join(
    part for part in (at, str(equation.source_info.name_stack)) if part
  )
  found = None
  for found in _insides(equation, given, at):
    yield found
  if found is None or (state == "nan" and found.value != "nan"):
    shapes = ", ".join(str(jax.typeof(x)) for x in made if _state([x]))
    yield Finding(
      name=at or "the program",
      operation=f"{equation.primitive.name} {shapes}",
      value=state,
      line=source_info_util.summarize(equation.source_info),
    )


def _insides(equation: Any, given: Sequence[Any], at: str) -> Iterator[Finding]:
  """Runs what an operation holds, where that is run as it stands."""
  params = equation.params
  if equation.primitive.name == "scan":
    yield from _turns(params, given, at)
    return
  inner = params.get("jaxpr") or params.get("call_jaxpr")
  if equation.primitive.name == "shard_map" or inner is None:
    return  # Its insides see a part of each array.
  if isinstance(inner, jex_core.ClosedJaxpr):
    yield from _walk(inner.jaxpr, inner.consts, given, at)
  elif isinstance(inner, jex_core.Jaxpr) and not inner.constvars:
    yield from _walk(inner, (), given, at)


def _turns(params: Any, given: Sequence[Any], at: str) -> Iterator[Finding]:
  """Turns of a scan until one is found that is not finite."""
  body, length = params["jaxpr"], params["length"]
  fixed = params["num_consts"]
  carried = fixed + params["num_carry"]
  consts, carry, rows = given[:fixed], given[fixed:carried], given[carried:]
  step = jax.jit(jex_core.jaxpr_as_fun(body))
  turns = range(length)
  for turn in reversed(turns) if params["reverse"] else turns:
    inputs = [*consts, *carry, *(x[turn] for x in rows)]
    made = step(*inputs)
    if _state(made):
      before = None
      for before in _walk(body.jaxpr, body.consts, inputs, f"{at}[{turn}]"):
        yield before
      if before is not None and before.value == "nan":
        return
    carry = made[: len(carry)]
