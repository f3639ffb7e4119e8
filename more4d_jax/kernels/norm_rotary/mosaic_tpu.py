"""Norm and rotation for TPUs in Pallas: each value is read and written once.

A grid step holds whole rows, so that the mean of squares over all heads is
known before the first head is rotated. A rotation is one turn of 128 lanes by
half a head, two products and a sum. The result leaves with the heads before
the tokens, as the attention kernel reads it.

Rows need no padding: the last tile may stick out of the arrays. Rows outside
hold anything; they stay by themselves but in the gradient of the scale, where
they are left out.
"""

import functools

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu
from jaxtyping import Array, Float

_LANES = 128
_VMEM_BYTES = 64 << 20
# Bytes of a tile of `x` that leave room for the others, twice each.
_TILE_BYTES = 5 << 19

Inputs = tuple[Array, Array, Array, Array | None]


def unsupported(head_dim: int, dtype: jax.typing.DTypeLike) -> str:
  """Returns why the kernel cannot run, or an empty string."""
  if head_dim not in (64, 128):
    return f"takes head widths 64 and 128, not {head_dim}"
  if dtype not in (jnp.bfloat16, jnp.float32):
    return f"takes bfloat16 and float32, not {jnp.dtype(dtype).name}"
  return ""


def tile_rows(rows: int, width: int, dtype: jax.typing.DTypeLike) -> int:
  """Rows of a grid step: 128 or 256."""
  large = 256 * width * jnp.dtype(dtype).itemsize > _TILE_BYTES
  return _LANES if large or rows <= _LANES else 2 * _LANES


def _factors(angles_ref):
  """Factors of a head's values and of their partners, [tile D]."""
  angles = angles_ref[...]
  turned = _partners(angles)
  lane = jax.lax.broadcasted_iota(jnp.int32, angles.shape, 1)
  first = lane < angles.shape[1] // 2
  return jnp.where(first, angles, turned), jnp.where(first, -turned, angles)


def _partners(x):
  """The other value of each pair: half a head further round."""
  half = x.shape[1] // 2
  if x.shape[1] == _LANES:
    return pltpu.roll(x, half, 1)
  return jnp.concatenate([x[:, half:], x[:, :half]], axis=1)


def _heads(width, head_dim):
  """Number and columns of each head."""
  starts = range(0, width, head_dim)
  return enumerate(pl.ds(start, head_dim) for start in starts)


def _as_column(row):
  """[1 tile] to [tile 1]."""
  return jnp.broadcast_to(row, (_LANES, row.shape[1])).T[:, :1]


def _inverse_root(total, square_ref, width, eps):
  """1 / root mean square, [tile 1].

  Args:
    total: sums of squares [tile D], if `square_ref` is None.
    square_ref: means of squares [1 tile], or None.
    width: values of a row.
    eps: added to the mean.
  """
  if square_ref is not None:
    square = _as_column(square_ref[...])
  else:
    square = jnp.sum(total, axis=1, keepdims=True) / width
  return jax.lax.rsqrt(square + eps)


def _forward_kernel(x_ref, angles_ref, scale_ref, *refs, eps):
  *squares, out_ref = refs
  square_ref = squares[0] if squares else None
  width, head_dim = x_ref.shape[1], angles_ref.shape[1]
  total = jnp.zeros(angles_ref.shape, jnp.float32)
  if square_ref is None:
    for _, columns in _heads(width, head_dim):
      total += jnp.square(x_ref[:, columns].astype(jnp.float32))
  inverse = _inverse_root(total, square_ref, width, eps)
  own, others = _factors(angles_ref)
  for head, columns in _heads(width, head_dim):
    x = x_ref[:, columns].astype(jnp.float32)
    x = scale_ref[:, columns] * (x * inverse)
    out_ref[head] = (x * own + _partners(x) * others).astype(out_ref.dtype)


def _backward_kernel(
  x_ref, d_out_ref, angles_ref, scale_ref, *refs, eps, num_rows
):
  given = len(refs) == 4
  square_ref, d_square_ref = (refs[0], refs[3]) if given else (None, None)
  d_x_ref, d_scale_ref = refs[1:3] if given else refs
  (tile, width), head_dim = x_ref.shape, angles_ref.shape[1]
  own, others = _factors(angles_ref)

  def read(head, columns):  # x and the gradient of the normed values
    d_out = d_out_ref[head].astype(jnp.float32)
    d_normed = d_out * own - _partners(d_out) * others
    return x_ref[:, columns].astype(jnp.float32), d_normed

  total, dot = (jnp.zeros(angles_ref.shape, jnp.float32) for _ in range(2))
  for head, columns in _heads(width, head_dim):
    x, d_normed = read(head, columns)
    dot += scale_ref[:, columns] * d_normed * x
    if square_ref is None:
      total += jnp.square(x)
  inverse = _inverse_root(total, square_ref, width, eps)
  cubed = -0.5 * inverse * inverse * inverse
  if given:
    d_square_ref[...] = jnp.sum((dot * cubed).T, axis=0, keepdims=True)
  pull = jnp.sum(dot, axis=1, keepdims=True) * cubed * (2 / width)
  left = num_rows - pl.program_id(1) * tile
  inside = jax.lax.broadcasted_iota(jnp.int32, (tile, 1), 0) < left
  for head, columns in _heads(width, head_dim):
    x, d_normed = read(head, columns)
    weighted = d_normed * (x * inverse)
    if num_rows % tile:
      weighted = jnp.where(inside, weighted, 0)
    d_scale_ref[:, columns] = jnp.sum(weighted, axis=0, keepdims=True)
    d_x = inverse * (scale_ref[:, columns] * d_normed)
    if not given:
      d_x += x * pull
    d_x_ref[:, columns] = d_x.astype(d_x_ref.dtype)


def _shape(shape, dtype, like):
  """Shape of an output that varies over the mesh axes that `like` does."""
  axes = jax.typeof(like).manual_axis_type
  return jax.ShapeDtypeStruct(shape, dtype, manual_axis_type=axes)


def _specs(inputs: Inputs, num_heads: int):
  """Grid, and blocks of rows, heads, angles, the scale and the squares."""
  x = inputs[0]
  batch, rows, width = x.shape
  tile, head_dim = tile_rows(rows, width, x.dtype), width // num_heads
  grid = batch, pl.cdiv(rows, tile)
  return grid, {
    "x": pl.BlockSpec((None, tile, width), lambda b, i: (b, i, 0)),
    "heads": pl.BlockSpec(
      (None, num_heads, tile, head_dim), lambda b, i: (b, 0, i, 0)
    ),
    "angles": pl.BlockSpec((tile, head_dim), lambda b, i: (i, 0)),
    "scale": pl.BlockSpec((1, width), lambda b, i: (0, 0)),
    "square": pl.BlockSpec((None, 1, tile), lambda b, i: (b, 0, i)),
    "sums": pl.BlockSpec((None, None, 1, width), lambda b, i: (b, i, 0, 0)),
  }


def _operands(inputs: Inputs):
  """x, angles, scale and, if it is given, the mean of squares, as blocks do."""
  x, scale, angles, square = inputs
  rest = [] if square is None else [square[:, None]]
  return x, angles, scale[None].astype(jnp.float32), *rest


def _options(x, tensors, name):
  """Options of a pass that moves so many tensors of the size of `x`."""
  rows = x.shape[1]
  return {
    "compiler_params": pltpu.CompilerParams(
      dimension_semantics=("parallel", "parallel"),
      vmem_limit_bytes=_VMEM_BYTES,
    ),
    "cost_estimate": pl.CostEstimate(
      flops=6 * tensors * x.size,
      transcendentals=x.shape[0] * rows,
      bytes_accessed=tensors * x.size * x.dtype.itemsize + 512 * rows,
    ),
    "name": f"norm_rotary_{name}",
  }


def forward(
  x: Float[Array, "B N W"],
  scale: Float[Array, "W"],
  angles: Float[Array, "N D"],
  square: Float[Array, "B N"] | None = None,
  *,
  num_heads: int,
  eps: float,
  interpret: bool | pltpu.InterpretParams = False,
) -> Float[Array, "B N K D"]:
  """As `reference.norm_rotary`.

  Args:
    x: bfloat16 or float32, heads of 64 or 128.
    scale: see there; so for the others.
    angles: see there, float32.
    square: see there, float32.
    num_heads: heads in `x`.
    eps: see there.
    interpret: runs without a TPU, slowly; see `pl.pallas_call`.
  """
  inputs = x, scale, angles, square
  grid, specs = _specs(inputs, num_heads)
  operands = _operands(inputs)
  names = ("x", "angles", "scale", "square")[: len(operands)]
  batch, rows, width = x.shape
  out = pl.pallas_call(
    functools.partial(_forward_kernel, eps=eps),
    grid=grid,
    in_specs=[specs[name] for name in names],
    out_specs=specs["heads"],
    out_shape=_shape((batch, num_heads, rows, width // num_heads), x.dtype, x),
    interpret=interpret,
    **_options(x, 2, "forward"),
  )(*operands)
  return jnp.swapaxes(out, 1, 2)


def backward(
  inputs: Inputs,
  d_out: Float[Array, "B N K D"],
  *,
  num_heads: int,
  eps: float,
  interpret: bool | pltpu.InterpretParams = False,
) -> tuple[
  Float[Array, "B N W"], Float[Array, "W"], Float[Array, "B N"] | None
]:
  """Returns the gradients of `x`, `scale` and `square`.

  Args:
    inputs: x, scale, angles and square, as given to `forward`.
    d_out: of the output.
    num_heads: heads in `x`.
    eps: see `reference.norm_rotary`.
    interpret: runs without a TPU, slowly; see `pl.pallas_call`.
  """
  x = inputs[0]
  batch, rows, width = x.shape
  grid, specs = _specs(inputs, num_heads)
  x, *rest = _operands(inputs)
  squares = rest[2:]
  names = ["x", "heads", "angles", "scale", *["square" for _ in squares]]
  outputs = ["x", "sums", *["square" for _ in squares]]
  d_x, d_scale, *d_square = pl.pallas_call(
    functools.partial(_backward_kernel, eps=eps, num_rows=rows),
    grid=grid,
    in_specs=[specs[name] for name in names],
    out_specs=[specs[name] for name in outputs],
    out_shape=[
      _shape(x.shape, x.dtype, x),
      _shape((*grid, 1, width), jnp.float32, x),
      *(_shape((batch, 1, rows), jnp.float32, x) for _ in squares),
    ],
    interpret=interpret,
    **_options(x, 3, "backward"),
  )(x, jnp.swapaxes(d_out, 1, 2), *rest)
  d_square = d_square[0][:, 0] if squares else None
  return d_x, jnp.sum(d_scale, axis=(0, 1, 2)), d_square
