"""Operations of a traced program, counted in its products.

A compiler's own count takes the body of a loop once and knows nothing of what
a kernel does, so the trace is counted instead: layers as often as they run,
recomputation included, and devices that repeat each other's work as well.
"""

import math
from collections.abc import Iterator
from typing import Any

import jax.extend.core as jex_core


def count(closed: jex_core.ClosedJaxpr) -> float:
  """Operations of all devices together; an addition or product is one.

  Args:
    closed: of `jax.stages.Traced.jaxpr`.
  """
  return _count(closed.jaxpr)


def _count(jaxpr: jex_core.Jaxpr) -> float:
  return math.fsum(_of(equation) for equation in jaxpr.eqns)


def _of(equation: Any) -> float:
  name, params = equation.primitive.name, equation.params
  if name in _PRODUCTS:
    return _PRODUCTS[name](equation)
  inner = [_count(jaxpr) for jaxpr in _jaxprs(tuple(params.values()))]
  if name == "cond":  # Branches of platforms too: they do the same.
    return max(inner, default=0.0)
  if name == "scan":
    return params["length"] * math.fsum(inner)
  if name == "shard_map":
    mesh = params["mesh"]
    manual = params.get("manual_axes", mesh.axis_names)
    return math.prod(mesh.shape[axis] for axis in manual) * math.fsum(inner)
  if name == "pallas_call":
    estimate = params.get("cost_estimate")
    steps = math.prod(n for n in params["grid_mapping"].grid)
    return float(estimate.flops) if estimate else steps * math.fsum(inner)
  return math.fsum(inner)


def _jaxprs(values: Any) -> Iterator[jex_core.Jaxpr]:
  """Programs among an equation's parameters."""
  for value in values:
    if isinstance(value, jex_core.ClosedJaxpr):
      yield value.jaxpr
    elif isinstance(value, jex_core.Jaxpr):
      yield value
    elif isinstance(value, tuple | list):
      yield from _jaxprs(value)


def _dot(equation: Any) -> float:
  left = equation.invars[0].aval.shape
  (contracted, _), _ = equation.params["dimension_numbers"]
  summed = math.prod(left[axis] for axis in contracted)
  return 2.0 * math.prod(equation.outvars[0].aval.shape) * summed


def _convolution(equation: Any) -> float:
  kernel = equation.invars[1].aval.shape
  params = equation.params
  spec = params["dimension_numbers"].rhs_spec  # Out, in, spatial.
  taps = math.prod(kernel[axis] for axis in spec[1:])
  # Zeros that dilation puts between the inputs are not multiplied.
  gaps = math.prod(params["lhs_dilation"])
  return 2.0 * math.prod(equation.outvars[0].aval.shape) * taps / gaps


_PRODUCTS = {
  "dot_general": _dot,
  "conv_general_dilated": _convolution,
}
