"""Norm and rotation for TPUs in Pallas: each value is read and written once.

A grid step holds whole rows, so that the mean of squares over all heads is
known before the first head is rotated. A rotation is one turn of 128 lanes by
half a head, two products and a sum. The result leaves with the heads before
the tokens, as the attention kernel reads it.

Heads are written out in the program and rows are looped over: at width 5,120
code for all rows of a grid step takes the compiler two to four times as long.

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

from more4d_jax.kernels.attention import mosaic_tpu as attention
from more4d_jax.kernels.norm_rotary import reference

_LANES = 128
_SUBLANES = 8
_VMEM_BYTES = 64 << 20
# Bytes of a tile of `x` that leave room for the others, twice each.
_TILE_BYTES = 5 << 19
# Values of the rows that the program is written out for. With fewer, waiting
# for the sums of each turn of the loop weighs more; with more the compiler
# takes longer and the backward pass has no fewer instructions.
_FORWARD_VALUES = 5 << 17
_BACKWARD_VALUES = 5 << 16


# As the attention kernel that takes the results.
unsupported = attention.unsupported


def tile_rows(rows: int, width: int, dtype: jax.typing.DTypeLike) -> int:
  """Rows of a grid step: 128 or 256."""
  large = 256 * width * jnp.dtype(dtype).itemsize > _TILE_BYTES
  return _LANES if large or rows <= _LANES else 2 * _LANES


def _for_all_rows(tile, width, most_values, visit):
  """Calls `visit` with slices that together make up the rows of a tile."""
  count = tile
  while count * width > most_values and count > 16:
    count //= 2

  @pl.loop(0, tile // count)
  def _(step):
    visit(pl.ds(pl.multiple_of(step * count, count), count))


def _factors(angles):
  """Factors of a head's values and of their partners, [rows D]."""
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


def _by_row(row):
  """[1 tile] to [tile 128]: each value fills a row."""
  return jnp.broadcast_to(row, (_LANES, row.shape[1])).T


def _row_sum(terms):
  """Sum of [rows D] over the list and the columns, [rows 1]."""
  return jnp.sum(sum(terms), axis=1, keepdims=True)


def _forward_kernel(x_ref, angles_ref, scale_ref, *refs, eps):
  (tile, width), head_dim = x_ref.shape, angles_ref.shape[1]
  given = len(refs) == 3
  if given:
    square_ref, out_ref, by_row_ref = refs
    by_row_ref[...] = _by_row(square_ref[...])
  else:
    (out_ref,) = refs

  def visit(rows):
    def read(columns):
      return x_ref[rows, columns].astype(jnp.float32)

    if given:
      square = by_row_ref[rows, :1]
    else:
      heads = _heads(width, head_dim)
      square = _row_sum([jnp.square(read(c)) for _, c in heads]) / width
    inverse = jax.lax.rsqrt(square + eps)
    own, others = (inverse * x for x in _factors(angles_ref[rows]))
    for head, columns in _heads(width, head_dim):
      x = scale_ref[:, columns] * read(columns)
      x = x * own + _partners(x) * others
      out_ref[head, rows] = x.astype(out_ref.dtype)

  _for_all_rows(tile, width, _FORWARD_VALUES, visit)


def _backward_kernel(
  x_ref, d_out_ref, angles_ref, scale_ref, *refs, eps, num_rows
):
  (tile, width), head_dim = x_ref.shape, angles_ref.shape[1]
  given = len(refs) == 6
  if given:
    square_ref, d_x_ref, d_scale_ref, d_square_ref, sums_ref, by_row_ref = refs
    by_row_ref[...] = _by_row(square_ref[...])
  else:
    d_x_ref, d_scale_ref, sums_ref = refs
  sums_ref[...] = jnp.zeros_like(sums_ref)
  left = num_rows - pl.program_id(1) * tile

  def visit(rows):
    def read(columns):
      return x_ref[rows, columns].astype(jnp.float32)

    own, others = _factors(angles_ref[rows])
    d_normed, dots, squares = [], [], []
    for head, columns in _heads(width, head_dim):
      d_out = d_out_ref[head, rows].astype(jnp.float32)
      d_normed.append(d_out * own - _partners(d_out) * others)
      x = read(columns)
      dots.append(scale_ref[:, columns] * d_normed[-1] * x)
      if not given:
        squares.append(jnp.square(x))
    square = by_row_ref[rows, :1] if given else _row_sum(squares) / width
    inverse = jax.lax.rsqrt(square + eps)
    d_square = _row_sum(dots) * (-0.5 * inverse * inverse * inverse)
    if given:
      by_row_ref[rows] = jnp.broadcast_to(d_square, (rows.size, _LANES))
    pull = d_square * (2 / width)
    row = jax.lax.broadcasted_iota(jnp.int32, (rows.size, 1), 0)
    inside = row < left - rows.start
    for head, columns in _heads(width, head_dim):
      x, d_head = read(columns), inverse * d_normed[head]
      weighted = x * d_head
      if num_rows % tile:
        weighted = jnp.where(inside, weighted, 0)
      sums = weighted.reshape(-1, _SUBLANES, head_dim)
      sums_ref[:, columns] += jnp.sum(sums, axis=0)
      d_x = scale_ref[:, columns] * d_head
      if not given:
        d_x += x * pull
      d_x_ref[rows, columns] = d_x.astype(d_x_ref.dtype)

  _for_all_rows(tile, width, _BACKWARD_VALUES, visit)
  d_scale_ref[...] = jnp.sum(sums_ref[...], axis=0, keepdims=True)
  if given:
    d_square_ref[...] = by_row_ref[...].T[:1]


def _shape(shape, dtype, like):
  """Shape of an output that varies over the mesh axes that `like` does."""
  axes = jax.typeof(like).manual_axis_type
  return jax.ShapeDtypeStruct(shape, dtype, manual_axis_type=axes)


def _specs(inputs: reference.Inputs, num_heads: int):
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


def _scratch(inputs: reference.Inputs, *shapes):
  """Memory of these shapes and, if it is given, of the squares by row."""
  x, _, _, square = inputs
  if square is not None:
    shapes += ((tile_rows(*x.shape[1:], x.dtype), _LANES),)
  return [pltpu.VMEM(shape, jnp.float32) for shape in shapes]


def _operands(inputs: reference.Inputs):
  """x, angles, scale and, if it is given, the mean of squares, as blocks do."""
  x, scale, angles, square = inputs
  rest = [] if square is None else [square[:, None]]
  return x, angles, scale[None].astype(jnp.float32), *rest


def _options(x, tensors, name):
  """Options of a pass that moves `tensors` arrays of the size of `x`."""
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
  inputs: reference.Inputs,
  *,
  num_heads: int,
  eps: float,
  interpret: bool | pltpu.InterpretParams = False,
) -> Float[Array, "B N K D"]:
  """As `reference.norm_rotary`.

  Args:
    inputs: x in bfloat16 or float32 with heads of 64 or 128; the others in
      float32.
    num_heads: heads in `x`.
    eps: see there.
    interpret: runs without a TPU, slowly; see `pl.pallas_call`.
  """
  x = inputs[0]
  grid, specs = _specs(inputs, num_heads)
  operands = _operands(inputs)
  names = ("x", "angles", "scale", "square")[: len(operands)]
  batch, rows, width = x.shape
  out = pl.pallas_call(
    functools.partial(_forward_kernel, eps=eps),
    grid=grid,
    in_specs=[specs[name] for name in names],
    out_specs=specs["heads"],
    scratch_shapes=_scratch(inputs),
    out_shape=_shape((batch, num_heads, rows, width // num_heads), x.dtype, x),
    interpret=interpret,
    **_options(x, 2, "forward"),
  )(*operands)
  return jnp.swapaxes(out, 1, 2)


def backward(
  inputs: reference.Inputs,
  d_out: Float[Array, "B N K D"],
  *,
  num_heads: int,
  eps: float,
  interpret: bool | pltpu.InterpretParams = False,
) -> reference.Gradients:
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
    scratch_shapes=_scratch(inputs, (_SUBLANES, width)),
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
