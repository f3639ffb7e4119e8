"""Norm and rotation for Hopper GPUs in Pallas Mosaic GPU, with the gradient.

One warpgroup owns 64 rows and walks over their heads twice: first for the sums
over the width, then for the results; once where the mean of squares is an
argument. 64 rows of all heads do not fit in shared memory. The second walk
starts at the last head: the last heads are then in shared memory already, and
of the others those read last are most likely in the cache. Copies (TMA) run
ahead of the computation.

The two halves of a head are separate tiles, so that the partner of a value is
in the same place of the other tile and a rotation moves nothing.

Copies fill rows outside the arrays with zeros, which add nothing to the
gradient of the scale, and drop them on the way back. Numbers of rows that are
no multiple of 8, TMA's unit here, are padded to one.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu
from jaxtyping import Array, Float

from more4d_jax.kernels.attention import mosaic_gpu as attention
from more4d_jax.kernels.norm_rotary import reference

_ROWS = 64  # One warpgroup's rows in the layout of its matrix instruction.
_COPY_ROWS = 8  # Rows in a unit of the swizzled layout that TMA copies.
_STAGES = 2  # Heads in shared memory, read and written ones each.
# Shared memory through which sums over rows cross the warps: a row for each.
_REDUCTION_BYTES = 4 * 64 * 4


# As the attention kernel that takes the results: bfloat16, heads of 64 or 128,
# Hopper GPUs.
unsupported = attention.unsupported


@dataclasses.dataclass(frozen=True)
class _Plan:
  """What the kernels know while they are traced.

  Attributes:
    num_heads: heads in a row.
    head_dim: their width.
    eps: added to the mean of squares.
    given: whether the mean of squares is an argument.
  """

  num_heads: int
  head_dim: int
  eps: float
  given: bool

  @property
  def half(self):
    return self.head_dim // 2

  def columns(self, head):
    """Columns of the two halves of a head."""
    start = head * self.head_dim
    return [pl.ds(start + i * self.half, self.half) for i in range(2)]


def _matrices(shape, dtype):
  """Shared memory [... rows half] that TMA fills."""
  dtype = jnp.dtype(dtype)
  columns = min(shape[-1], 128 // dtype.itemsize)
  transforms = (
    plgpu.TilingTransform((_COPY_ROWS, columns)),
    plgpu.SwizzleTransform(columns * dtype.itemsize),
  )
  return plgpu.SMEM(shape, dtype, transforms=transforms)


def _read(halves):
  """The two halves of a tile, float32, in registers."""
  return [
    plgpu.layout_cast(x[...], plgpu.Layout.WGMMA).astype(jnp.float32)
    for x in halves
  ]


def _zeros():
  """A number for each row."""
  row = plgpu.Layout.WGMMA.reduce(1)
  return plgpu.layout_cast(jnp.zeros((_ROWS,), jnp.float32), row)


def _of_rows(x, like):
  return jax.lax.broadcast_in_dim(x, like.shape, [0])


def _scaled(scale, halves):
  """Products with the scale, a number for each column."""
  column = plgpu.Layout.WGMMA.reduce(0)
  wide = [
    jax.lax.broadcast_in_dim(plgpu.layout_cast(s[...], column), x.shape, [1])
    for s, x in zip(scale, halves)
  ]
  return [s * x for s, x in zip(wide, halves)]


def _row_dots(x, y):
  """Sums over the columns of products of two tiles."""
  return sum(jnp.sum(a * b, axis=1) for a, b in zip(x, y))


def _sweeper(plan, arrays, full, sources):
  """Starts the first copies; returns a function that runs a sweep.

  Args:
    plan: of the kernel.
    arrays: shared memory [stages ...], filled with what a head needs.
    full: barriers that the copies of a stage arrive at.
    sources: returns for a head what the arrays are filled with.
  """

  def slot_of(head):
    return jax.lax.rem(head, jnp.int32(_STAGES))

  def start(head):
    slot = slot_of(head)
    for source, array in zip(sources(head), arrays, strict=True):
      plgpu.copy_gmem_to_smem(source, array.at[slot], full.at[slot])

  for head in range(min(_STAGES, plan.num_heads)):
    start(jnp.int32(head))

  def sweep(body, carry, *, back=False):
    """Runs body(head, tiles, carry) for all heads.

    Args:
      body: see above.
      carry: of the first head.
      back: from the last head to the first, after a sweep to the last.
    """

    def run(step, carry):
      head = plan.num_heads - 1 - step if back else step
      following = head - _STAGES if back else head + _STAGES
      slot = slot_of(head)
      # Where a sweep turns, its last heads are in their slots already.
      pl.when(not back or step >= _STAGES)(
        lambda: plgpu.barrier_wait(full.at[slot])
      )
      carry = body(head, [x.at[slot] for x in arrays], carry)
      plgpu.commit_smem()  # All threads have read before TMA writes again.
      is_head = following >= 0 if back else following < plan.num_heads
      pl.when(is_head)(lambda: start(following))
      return carry

    return jax.lax.fori_loop(0, plan.num_heads, run, carry)

  return sweep


def _store(head, values, arrays, targets):
  """Starts copies of a head's results, once their memory is free again."""
  plgpu.wait_smem_to_gmem(_STAGES - 1, wait_read_only=True)
  slot = jax.lax.rem(head, jnp.int32(_STAGES))
  for value, array in zip(values, arrays, strict=True):
    array.at[slot][...] = value.astype(array.dtype)
  plgpu.commit_smem()
  for array, target in zip(arrays, targets, strict=True):
    plgpu.copy_smem_to_gmem(array.at[slot], target, commit_group=False)
  plgpu.commit_smem_to_gmem_group()


def _load_own(plan, own, full, angles_ref, squares):
  """Copies what a block reads once, and waits for it.

  Returns: sample, block and the rows of the block.
  """
  sample, block = map(jax.lax.axis_index, ("sample", "block"))
  rows = pl.ds(block * _ROWS, _ROWS)
  angles = [angles_ref.at[rows, columns] for columns in plan.columns(0)]
  sources = [*angles, *(x.at[sample, rows] for x in squares)]
  for source, array in zip(sources, own, strict=True):
    plgpu.copy_gmem_to_smem(source, array, full)
  plgpu.barrier_wait(full)
  return sample, block, rows


def _inverse_root(plan, own, total):
  """1 / root mean square of each row, from sums of squares or the given."""
  if plan.given:
    square = plgpu.layout_cast(own[2][...], plgpu.Layout.WGMMA.reduce(1))
  else:
    square = total / (plan.num_heads * plan.head_dim)
  return jax.lax.rsqrt(square + plan.eps)


def _forward_kernel(x_ref, angles_ref, scale_ref, *refs, plan):
  *squares, out_ref, own, own_full, tiles, full, results = refs
  sample, _, rows = _load_own(plan, own, own_full, angles_ref, squares)

  def sources(head):
    columns = plan.columns(head)
    values = [x_ref.at[sample, rows, c] for c in columns]
    return [*values, *(scale_ref.at[c] for c in columns)]

  sweep = _sweeper(plan, tiles, full, sources)

  def add_squares(_, refs, total):
    x = _read(refs[:2])
    return total + _row_dots(x, x)

  total = None if plan.given else sweep(add_squares, _zeros())
  inverse = _inverse_root(plan, own, total)

  def write(head, refs, carry):
    x = [x * _of_rows(inverse, x) for x in _read(refs[:2])]
    a, b = _scaled(refs[2:], x)
    cos, sin = _read(own[:2])
    targets = [out_ref.at[sample, rows, c] for c in plan.columns(head)]
    _store(head, (a * cos - b * sin, b * cos + a * sin), results, targets)
    return carry

  sweep(write, (), back=not plan.given)
  plgpu.wait_smem_to_gmem(0)


def _read_gradient(refs, own):
  """X and the gradient of the normed values."""
  (a, b), (cos, sin) = _read(refs[2:4]), _read(own[:2])
  return _read(refs[:2]), [a * cos + b * sin, b * cos - a * sin]


def _backward_kernel(x_ref, d_out_ref, angles_ref, scale_ref, *refs, plan):
  count = int(plan.given)
  squares, (d_x_ref, d_scale_ref) = refs[:count], refs[count : count + 2]
  d_squares = refs[count + 2 : 2 * count + 2]
  own, own_full, tiles, full, results = refs[2 * count + 2 :]
  sample, block, rows = _load_own(plan, own, own_full, angles_ref, squares)

  def sources(head):
    columns = plan.columns(head)
    matrices = [
      matrix.at[sample, rows, c]
      for matrix in (x_ref, d_out_ref)
      for c in columns
    ]
    return [*matrices, *(scale_ref.at[c] for c in columns)]

  sweep = _sweeper(plan, tiles, full, sources)

  def add_sums(_, refs, sums):
    x, d_normed = _read_gradient(refs, own)
    total, dot = sums
    dot += _row_dots(x, _scaled(refs[4:], d_normed))
    return total + _row_dots(x, x), dot

  total, dot = None, _zeros()
  if not plan.given:
    total, dot = sweep(add_sums, (_zeros(), dot))
  inverse = _inverse_root(plan, own, total)
  cubed = -0.5 * inverse * inverse * inverse
  pull = dot * cubed * (2 / (plan.num_heads * plan.head_dim))

  def write(head, refs, dot):
    x, d_normed = _read_gradient(refs, own)
    d_scale = [
      jnp.sum(d * (v * _of_rows(inverse, v)), axis=0)
      for v, d in zip(x, d_normed)
    ]
    scaled = _scaled(refs[4:], d_normed)
    d_x = [_of_rows(inverse, d) * d for d in scaled]
    if plan.given:
      dot += _row_dots(x, scaled)
    else:
      d_x = [d + v * _of_rows(pull, v) for v, d in zip(x, d_x)]
    columns = plan.columns(head)
    targets = [
      *(d_x_ref.at[sample, rows, c] for c in columns),
      *(d_scale_ref.at[sample, block, c] for c in columns),
    ]
    _store(head, (*d_x, *d_scale), results, targets)
    return dot

  dot = sweep(write, dot, back=not plan.given)
  for d_square_ref in d_squares:
    own[2][...] = dot * cubed
    plgpu.commit_smem()
    plgpu.copy_smem_to_gmem(own[2], d_square_ref.at[sample, rows])
  plgpu.wait_smem_to_gmem(0)


def _operands(inputs: reference.Inputs):
  """x, angles, scale and, if it is given, the mean of squares, padded."""
  x, scale, angles, square = inputs
  rest = [] if square is None else [attention.pad_rows(square, _ROWS)]
  return (
    attention.pad_rows(x, _COPY_ROWS),
    attention.pad_rows(angles, _COPY_ROWS, axis=0),
    scale.astype(jnp.float32),
    *rest,
  )


def _scratch(plan, matrices, result_vectors):
  """Memory of what is read once, of the steps' tiles and of their results."""
  half, vector = plan.half, plgpu.SMEM((_STAGES, plan.half), jnp.float32)
  tile = _matrices((_STAGES, _ROWS, half), jnp.bfloat16)
  squares = (plgpu.SMEM((_ROWS,), jnp.float32),) * plan.given
  own = (*(_matrices((_ROWS, half), jnp.float32),) * 2, *squares)
  tiles = (*(tile,) * (2 * matrices), vector, vector)
  return (
    own,
    plgpu.Barrier(num_arrivals=len(own)),
    tiles,
    plgpu.Barrier(num_arrivals=len(tiles), num_barriers=_STAGES),
    (tile, tile, *(vector,) * result_vectors),
  )


def _call(kernel, plan, arguments, out_type, scratch, interpret):
  """Runs a kernel on every 64 rows of every sample."""
  batch, rows, _ = arguments[0].shape
  outputs = plgpu.kernel(
    functools.partial(kernel, plan=plan),
    out_type=out_type,
    scratch_types=scratch,
    grid=(batch, pl.cdiv(rows, _ROWS)),
    grid_names=("sample", "block"),
    compiler_params=plgpu.CompilerParams(
      approx_math=True, reduction_scratch_bytes=_REDUCTION_BYTES
    ),
    interpret=interpret,
    kernel_name=f"norm_rotary{kernel.__name__.removesuffix('_kernel')}",
  )(*arguments)
  return [attention.varying_like(x, arguments[0]) for x in outputs]


def forward(
  inputs: reference.Inputs,
  *,
  num_heads: int,
  eps: float,
  interpret: object | None = None,
) -> Float[Array, "B N K D"]:
  """As `reference.norm_rotary`.

  Args:
    inputs: x in bfloat16 with heads of 64 or 128; the others in float32.
    num_heads: heads in `x`.
    eps: see there, positive.
    interpret: `plgpu.InterpretGPUParams` (jax 0.11) runs without a GPU, slowly.
  """
  x = inputs[0]
  batch, rows, width = x.shape
  plan = _Plan(num_heads, width // num_heads, eps, inputs[3] is not None)
  arguments = _operands(inputs)
  out_type = [jax.ShapeDtypeStruct(arguments[0].shape, x.dtype)]
  (out,) = _call(
    _forward_kernel, plan, arguments, out_type, _scratch(plan, 1, 0), interpret
  )
  return out[:, :rows].reshape(batch, rows, num_heads, -1)


def backward(
  inputs: reference.Inputs,
  d_out: Float[Array, "B N K D"],
  *,
  num_heads: int,
  eps: float,
  interpret: object | None = None,
) -> reference.Gradients:
  """Returns the gradients of `x`, `scale` and `square`.

  Args:
    inputs: x, scale, angles and square, as given to `forward`.
    d_out: of the output.
    num_heads: heads in `x`.
    eps: see `forward`.
    interpret: `plgpu.InterpretGPUParams` (jax 0.11) runs without a GPU, slowly.
  """
  batch, rows, width = inputs[0].shape
  plan = _Plan(num_heads, width // num_heads, eps, inputs[3] is not None)
  x, *rest = _operands(inputs)
  d_out = attention.pad_rows(d_out.reshape(batch, rows, width), _COPY_ROWS)
  squares = [jax.ShapeDtypeStruct(s.shape, s.dtype) for s in rest[2:]]
  out_type = [
    jax.ShapeDtypeStruct(x.shape, x.dtype),
    jax.ShapeDtypeStruct((batch, pl.cdiv(rows, _ROWS), width), jnp.float32),
    *squares,
  ]
  d_x, d_scale, *d_square = _call(
    _backward_kernel,
    plan,
    (x, d_out, *rest),
    out_type,
    _scratch(plan, 2, 2),
    interpret,
  )
  d_square = d_square[0][:, :rows] if squares else None
  return d_x[:, :rows], jnp.sum(d_scale, axis=(0, 1)), d_square
