"""Flash attention for Hopper GPUs in Pallas Mosaic GPU, with its gradient.

Three kernels, each of three warpgroups: one moves tiles between global and
shared memory (TMA), two compute on 64 rows each. The forward pass and the
gradient of the queries own 128 queries and walk over the keys; the gradient
of keys and values owns 128 keys and walks over the queries. Weights go from
the registers of one product into the next, never through memory. Exponentials
are base 2, softmax statistics float32.

Lengths need not be multiples of a tile. Copies fill rows outside the arrays
with zeros and drop them on the way back; only the last tile of keys is
masked. Lengths that are no multiple of 8, TMA's unit here, are padded to one.

Source of the design: FlashAttention-3, arXiv 2407.08608, sections 3.1 and
3.2, with two kernels in the backward pass instead of atomic sums.
"""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu
from jaxtyping import Array, Float, Int

from more4d_jax.kernels.attention import reference

_LOG2_E = math.log2(math.e)
_ROWS = 64  # One warpgroup's rows, the height of its matrix instruction.
_COMPUTE = 2  # Computing warpgroups.
_BLOCK = _ROWS * _COMPUTE
_COPY_ROWS = 8  # Rows in a unit of the swizzled layout that TMA copies.
# Registers per thread; the three warpgroups share 512.
_COMPUTE_REGISTERS = 240
_MEMORY_REGISTERS = 24


@dataclasses.dataclass(frozen=True)
class Tiles:
  """Rows that move at once, and how many tiles are in flight.

  Attributes:
    keys: tile of keys of the forward pass.
    stages: tiles of keys and of values in shared memory, forward pass.
    d_query_keys: tile of keys in the kernel of the gradient of queries.
    d_query_stages: tiles of keys and of values there.
    d_key_queries: tile of queries in the kernel of the other gradients.
    d_key_stages: tiles of queries and of their cotangents there.
  """

  keys: int = 128
  stages: int = 2
  d_query_keys: int = 128
  d_query_stages: int = 2
  d_key_queries: int = 64
  d_key_stages: int = 2


# By the start of a device's `device_kind`, or by its compute capability.
TILES: dict[str, Tiles] = {
  "NVIDIA H100": Tiles(),
  "NVIDIA H200": Tiles(),
  "NVIDIA GH200": Tiles(),
  "9.0": Tiles(),
}
_HOPPER = TILES["9.0"]


def tiles_for(device_kind: str) -> Tiles | None:
  """Returns the tiles of a device, None where the kernels cannot run."""
  names = (name for name in TILES if device_kind.startswith(name))
  return TILES.get(next(names, ""))


def unsupported(
  width: int, dtype: jax.typing.DTypeLike, device_kind: str | None = None
) -> str:
  """Returns why the kernels cannot run, or an empty string.

  None stands for a device that is not known, which passes.
  """
  if width not in (64, 128):
    return f"takes head widths 64 and 128, not {width}"
  if dtype != jnp.bfloat16:
    return f"takes bfloat16, not {jnp.dtype(dtype).name}"
  if device_kind is not None and tiles_for(device_kind) is None:
    return f"takes Hopper GPUs, not {device_kind}"
  return ""


@dataclasses.dataclass(frozen=True)
class _Plan:
  """What the three kernels know while they are traced."""

  scale: float
  tiles: Tiles
  simulated: bool


def _add_products(totals, factors, plan: _Plan) -> tuple[Array, ...]:
  """Adds x @ y to each total, x in registers and y in shared memory.

  The one place where the simulator runs other code than the device: it knows
  matrix instructions only with both operands in shared memory.

  Args:
    totals: float32 [m n], one or more.
    factors: for each, a function that returns x [m k], called after the
      products before it have started, and a reference to y [k n].
    plan: of the kernel.
  """
  if plan.simulated:
    products = [
      jnp.dot(x(), y[...], preferred_element_type=jnp.float32)
      for x, y in factors
    ]
    plgpu.commit_smem()  # y was read as the device's threads do, not as TMA.
    return tuple(map(jnp.add, totals, products))

  def run(refs):
    for ref, (x, y) in zip(refs, factors):
      plgpu.wgmma(ref, x(), y)

  return pl.run_state(run)(tuple(plgpu.ACC.init(x) for x in totals))


@dataclasses.dataclass(frozen=True)
class _Ring:
  """Tiles in shared memory that one warpgroup fills and two read, in turn.

  Attributes:
    arrays: references [stages ...] that are filled together.
    full: barriers that the copies of a stage arrive at.
    free: barriers that the readers of a stage arrive at.
  """

  arrays: tuple
  full: jax.Ref
  free: jax.Ref

  @classmethod
  def scratch(cls, stages: int, *arrays) -> tuple:
    """Returns what `_Ring` is made of, to be allocated."""
    return (
      arrays,
      plgpu.Barrier(num_arrivals=len(arrays), num_barriers=stages),
      plgpu.Barrier(num_arrivals=_COMPUTE, num_barriers=stages),
    )

  @property
  def stages(self):
    return self.arrays[0].shape[0]

  def _slot(self, step):
    return jax.lax.rem(step, jnp.int32(self.stages))

  def fill(self, step, *sources):
    """Starts the copies of a step as soon as its stage is free."""
    slot = self._slot(step)

    @pl.when(step >= self.stages)
    def _():
      plgpu.barrier_wait(self.free.at[slot])

    for source, array in zip(sources, self.arrays, strict=True):
      plgpu.copy_gmem_to_smem(source, array.at[slot], self.full.at[slot])

  def drain(self, steps):
    """Waits until the last tiles are read; no barrier ends in use."""

    @pl.loop(jnp.maximum(steps - self.stages, 0), steps)
    def _(step):
      plgpu.barrier_wait(self.free.at[self._slot(step)])

  def wait(self, step):
    """Returns references to the tiles of a step once they are there."""
    slot = self._slot(step)
    plgpu.barrier_wait(self.full.at[slot])
    return [array.at[slot] for array in self.arrays]

  def release(self, step):
    """Says that this warpgroup has read the tiles of a step."""
    plgpu.barrier_arrive(self.free.at[self._slot(step)])


def _matrices(count, rows, width):
  """Shared memory that TMA fills and matrix instructions read."""
  transforms = (
    plgpu.TilingTransform((_COPY_ROWS, 64)),
    plgpu.SwizzleTransform(128),
  )
  return plgpu.SMEM((count, rows, width), jnp.bfloat16, transforms=transforms)


def _vectors(count, rows):
  return plgpu.SMEM((count, rows), jnp.float32)


def _registers(shape, value, layout=plgpu.Layout.WGMMA):
  return plgpu.layout_cast(jnp.full(shape, value, jnp.float32), layout)


def _spread(x, like, axis=0):
  """One number per row (axis 0) or column (1), over all of `like`."""
  return jax.lax.broadcast_in_dim(x, like.shape, [axis])


def _valid(shape, axis, left):
  """Whether the index along an axis is below `left`."""
  index = plgpu.broadcasted_iota(
    jnp.int32, shape, axis, layout=plgpu.Layout.WGMMA
  )
  return index < left


def _place():
  """Returns sample, head, first row of the block, and warpgroup."""
  names = "sample", "head", "block", "group"
  sample, head, block, group = map(jax.lax.axis_index, names)
  return sample, head, block * _BLOCK, group


def _split(group, compute, move):
  """Runs `compute` in two warpgroups and `move` in the third."""

  @pl.when(group < _COMPUTE)
  def _():
    plgpu.set_max_registers(_COMPUTE_REGISTERS, action="increase")
    compute()

  @pl.when(group == _COMPUTE)
  def _():
    plgpu.set_max_registers(_MEMORY_REGISTERS, action="decrease")
    move()


def _move(copies, rings, steps):
  """Fills rings with what copies(step) returns for each of them."""

  @pl.loop(0, steps)
  def _(step):
    for ring, sources in zip(rings, copies(step), strict=True):
      ring.fill(step, *sources)

  for ring in rings:
    ring.drain(steps)


def _move_keys(arrays, rings, place, length, tile):
  """Fills a ring from each array with the valid keys of a sample and head."""
  sample, head = place

  def copies(step):
    rows = pl.ds(step * tile, tile)
    return [(array.at[sample, rows, head],) for array in arrays]

  _move(copies, rings, pl.cdiv(length, tile))


def _over_keys(step, carry, length, tile):
  """Runs step(index, carry, masked) over the tiles of valid keys."""
  whole, steps = jax.lax.div(length, jnp.int32(tile)), pl.cdiv(length, tile)
  for masked, bounds in ((False, (0, whole)), (True, (whole, steps))):
    carry = jax.lax.fori_loop(
      *bounds, functools.partial(step, masked=masked), carry
    )
  return carry


def _forward_kernel(
  length_ref, q_ref, k_ref, v_ref, out_ref, lse_ref, own, turn, k_ring, v_ring,
  *, plan,
):  # fmt: skip
  sample, head, start, group = _place()
  length, tile = length_ref[sample], plan.tiles.keys
  k_ring, v_ring = _Ring(*k_ring), _Ring(*v_ring)

  def compute():
    q, lse, full = (x.at[group] for x in own)
    rows = pl.ds(start + group * _ROWS, _ROWS)
    plgpu.copy_gmem_to_smem(q_ref.at[sample, rows, head], q, full)
    plgpu.barrier_wait(full)
    # The first warpgroup has the tensor cores first.
    pl.when(group == 1)(lambda: _take_turns(turn))
    acc, top, total = _forward_rows(q, turn, k_ring, v_ring, length, plan)
    pl.when(group == 0)(lambda: _take_turns(turn))
    some = total > 0
    total = jnp.where(some, total, 1.0)
    q[...] = (acc * _spread(1 / total, acc)).astype(jnp.bfloat16)
    lse[...] = jnp.where(some, top / _LOG2_E + jnp.log(total), -jnp.inf)
    plgpu.commit_smem()
    plgpu.copy_smem_to_gmem(q, out_ref.at[sample, rows, head])
    plgpu.copy_smem_to_gmem(lse, lse_ref.at[sample, head, rows])
    plgpu.wait_smem_to_gmem(0)

  def move():
    arrays, rings = (k_ref, v_ref), (k_ring, v_ring)
    _move_keys(arrays, rings, (sample, head), length, tile)

  _split(group, compute, move)


def _take_turns(turn):
  """Lets the other warpgroup use the tensor cores, and waits for its turn."""
  plgpu.barrier_arrive(turn)
  plgpu.barrier_wait(turn)


def _forward_rows(q, turn, k_ring, v_ring, length, plan):
  """Walks over the keys; the warpgroups take turns on the tensor cores.

  Returns: weighted values before their division, the running maximum in base
    2, and the sum of the weights.
  """
  tile, width = plan.tiles.keys, q.shape[-1]
  unit = plan.scale * _LOG2_E

  def step(index, carry, masked):
    acc, top, total = carry
    (k,) = k_ring.wait(index)

    def product(ref):
      plgpu.wgmma(ref, q, k.transpose((1, 0)))
      _take_turns(turn)
      return ref[...]

    scores = pl.run_scoped(product, plgpu.ACC((_ROWS, tile), jnp.float32))
    k_ring.release(index)
    if masked:
      valid = _valid(scores.shape, 1, length - index * tile)
      scores = jnp.where(valid, scores, -jnp.inf)
    new_top = jnp.maximum(top, jnp.max(scores, axis=1) * unit)
    shrink = jnp.exp2(top - new_top)
    weights = jnp.exp2(scores * unit - _spread(new_top, scores))
    acc = acc * _spread(shrink, acc)
    total = total * shrink + jnp.sum(weights, axis=1)
    # What could sink below this line would prolong the turn.
    acc, new_top, total, weights = jax.lax.optimization_barrier(
      (acc, new_top, total, weights.astype(jnp.bfloat16))
    )
    plgpu.barrier_arrive(turn)
    (v,) = v_ring.wait(index)
    plgpu.barrier_wait(turn)
    (acc,) = _add_products((acc,), [(lambda: weights, v)], plan)
    v_ring.release(index)
    return acc, new_top, total

  row = plgpu.Layout.WGMMA.reduce(1)
  carry = (
    _registers((_ROWS, width), 0.0),
    _registers((_ROWS,), -jnp.inf, row),
    _registers((_ROWS,), 0.0, row),
  )
  return _over_keys(step, carry, length, tile)


def _d_query_kernel(
  length_ref, q_ref, k_ref, v_ref, d_out_ref, lse_ref, shift_ref, d_q_ref, own,
  k_ring, v_ring, *, plan,
):  # fmt: skip
  sample, head, start, group = _place()
  length, tile = length_ref[sample], plan.tiles.d_query_keys
  k_ring, v_ring = _Ring(*k_ring), _Ring(*v_ring)

  def compute():
    *arrays, full = (x.at[group] for x in own)
    rows = pl.ds(start + group * _ROWS, _ROWS)
    sources = (
      q_ref.at[sample, rows, head],
      d_out_ref.at[sample, rows, head],
      lse_ref.at[sample, head, rows],
      shift_ref.at[sample, head, rows],
    )
    for source, array in zip(sources, arrays, strict=True):
      plgpu.copy_gmem_to_smem(source, array, full)
    plgpu.barrier_wait(full)
    d_q = _d_query_rows(arrays, k_ring, v_ring, length, plan)
    q = arrays[0]
    q[...] = (d_q * plan.scale).astype(jnp.bfloat16)
    plgpu.commit_smem()
    plgpu.copy_smem_to_gmem(q, d_q_ref.at[sample, rows, head])
    plgpu.wait_smem_to_gmem(0)

  def move():
    arrays, rings = (k_ref, v_ref), (k_ring, v_ring)
    _move_keys(arrays, rings, (sample, head), length, tile)

  _split(group, compute, move)


def _d_query_rows(arrays, k_ring, v_ring, length, plan):
  """Walks over the keys; returns the gradient before its scale."""
  q, d_out, *statistics = arrays
  tile, unit = plan.tiles.d_query_keys, plan.scale * _LOG2_E
  row = plgpu.Layout.WGMMA.reduce(1)
  lse, shift = (plgpu.layout_cast(x[...], row) for x in statistics)

  def step(index, d_q, masked):
    (k,), (v,) = k_ring.wait(index), v_ring.wait(index)

    def products(scores_ref, d_weights_ref):
      plgpu.wgmma(scores_ref, q, k.transpose((1, 0)))
      plgpu.wgmma(d_weights_ref, d_out, v.transpose((1, 0)))
      # Exponentials run beside the second product.
      scores = plgpu.wgmma_accumulator_load(scores_ref, wait_n=1)
      weights = jnp.exp2(scores * unit - _spread(lse, scores))
      return weights, d_weights_ref[...]

    square = plgpu.ACC((_ROWS, tile), jnp.float32)
    weights, d_weights = pl.run_scoped(products, square, square)
    v_ring.release(index)
    d_scores = weights * (d_weights - _spread(shift, weights))
    if masked:
      valid = _valid(d_scores.shape, 1, length - index * tile)
      d_scores = jnp.where(valid, d_scores, 0.0)
    d_scores = d_scores.astype(jnp.bfloat16)
    (d_q,) = _add_products((d_q,), [(lambda: d_scores, k)], plan)
    k_ring.release(index)
    return d_q

  d_q = _registers((_ROWS, q.shape[-1]), 0.0)
  return _over_keys(step, d_q, length, tile)


def _d_key_kernel(
  length_ref, q_ref, k_ref, v_ref, d_out_ref, lse_ref, shift_ref, d_k_ref,
  d_v_ref, own, q_ring, d_out_ring, *, plan,
):  # fmt: skip
  sample, head, start, group = _place()
  left, tile = length_ref[sample] - start, plan.tiles.d_key_queries
  # Keys that take no part have gradient zero without any query.
  steps = jnp.where(left > 0, pl.cdiv(q_ref.shape[1], tile), 0)
  # Hidden from the assembler, which runs out of registers once it knows that
  # their number is even.
  steps = jax.lax.optimization_barrier(steps)
  q_ring, d_out_ring = _Ring(*q_ring), _Ring(*d_out_ring)

  def compute():
    *arrays, full = (x.at[group] for x in own)
    rows = sample, pl.ds(start + group * _ROWS, _ROWS), head
    for source, array in zip((k_ref, v_ref), arrays, strict=True):
      plgpu.copy_gmem_to_smem(source.at[rows], array, full)
    plgpu.barrier_wait(full)
    gradients = _d_key_rows(arrays, q_ring, d_out_ring, steps, plan)
    for array, total, factor in zip(arrays, gradients, (plan.scale, 1.0)):
      valid = _valid(total.shape, 0, left - group * _ROWS)
      masked = jnp.where(valid, total * factor, 0.0)
      array[...] = masked.astype(jnp.bfloat16)
    plgpu.commit_smem()
    for array, target in zip(arrays, (d_k_ref, d_v_ref)):
      plgpu.copy_smem_to_gmem(array, target.at[rows])
    plgpu.wait_smem_to_gmem(0)

  def move():
    def copies(step):
      rows = pl.ds(step * tile, tile)
      at, row = (sample, rows, head), (sample, head, rows)
      return (
        (q_ref.at[at], lse_ref.at[row]),
        (d_out_ref.at[at], shift_ref.at[row]),
      )

    _move(copies, (q_ring, d_out_ring), steps)

  _split(group, compute, move)


def _d_key_rows(arrays, q_ring, d_out_ring, steps, plan):
  """Walks over the queries with keys as rows, so that nothing is turned.

  Queries outside the array are zero, as are their cotangents and statistics:
  they add nothing. Keys that take no part spoil their own rows only.

  Returns: gradients of the keys, before their scale, and of the values.
  """
  k, v = arrays
  tile, unit = plan.tiles.d_key_queries, plan.scale * _LOG2_E
  column = plgpu.Layout.WGMMA.reduce(0)

  def step(index, sums):
    (q, lse), (d_out, shift) = q_ring.wait(index), d_out_ring.wait(index)

    def products(scores_ref, d_weights_ref):
      plgpu.wgmma(scores_ref, k, q.transpose((1, 0)))
      plgpu.wgmma(d_weights_ref, v, d_out.transpose((1, 0)))
      scores = plgpu.wgmma_accumulator_load(scores_ref, wait_n=1)
      row = _spread(plgpu.layout_cast(lse[...], column), scores, 1)
      return jnp.exp2(scores * unit - row), d_weights_ref[...]

    square = plgpu.ACC((_ROWS, tile), jnp.float32)
    weights, d_weights = pl.run_scoped(products, square, square)

    def d_scores():
      row = _spread(plgpu.layout_cast(shift[...], column), weights, 1)
      return (weights * (d_weights - row)).astype(jnp.bfloat16)

    factors = (d_scores, q), (lambda: weights.astype(jnp.bfloat16), d_out)
    # The values' product first: the other's factor is formed beside it.
    d_v, d_k = _add_products(sums[::-1], factors[::-1], plan)
    q_ring.release(index)
    d_out_ring.release(index)
    return d_k, d_v

  zeros = _registers((_ROWS, k.shape[-1]), 0.0)
  return jax.lax.fori_loop(0, steps, step, (zeros, zeros))


def pad_rows(x, multiple, axis=1):
  """Rounds the number of rows up; the new rows are zero."""
  fill = [(0, 0)] * x.ndim
  fill[axis] = 0, -x.shape[axis] % multiple
  return jnp.pad(x, fill) if fill[axis][1] else x


def varying_like(x, like):
  """Says inside shard_map that x varies over the mesh axes that `like` does.

  The kernels' results come without that.
  """
  axes, own = (jax.typeof(y).manual_axis_type.varying for y in (like, x))
  missing = tuple(axes - own)
  return jax.lax.pcast(x, missing, to="varying") if missing else x


def _lengths(key_length, batch, num_keys):
  if key_length is None:
    return jnp.full((batch,), num_keys, jnp.int32)
  return jnp.minimum(key_length, num_keys).astype(jnp.int32)


def _call(kernel, name, arguments, out_type, scratch, *, rows, interpret):
  """Runs a kernel on every block of `rows` rows of every head and sample."""
  batch, _, heads, _ = arguments[1].shape
  outputs = plgpu.kernel(
    kernel,
    out_type=out_type,
    scratch_types=scratch,
    # Neighbours in time work on one head, whose tiles then stay in the cache.
    grid=(batch, heads, pl.cdiv(rows, _BLOCK)),
    grid_names=("sample", "head", "block"),
    num_threads=_COMPUTE + 1,
    thread_name="group",
    compiler_params=plgpu.CompilerParams(approx_math=True),
    interpret=interpret,
    kernel_name=name,
  )(*arguments)
  return [varying_like(x, arguments[1]) for x in outputs]


def forward(
  q: Float[Array, "B N K D"],
  k: Float[Array, "B M K D"],
  v: Float[Array, "B M K D"],
  key_length: Int[Array, "B"] | None,
  *,
  scale: float,
  tiles: Tiles = _HOPPER,
  interpret: object | None = None,
) -> tuple[Float[Array, "B N K D"], Float[Array, "B N K"]]:
  """Returns the weighted values and the log-sum-exp of every query.

  Args:
    q: queries, bfloat16, width 64 or 128.
    k: keys.
    v: values.
    key_length: keys at or beyond this index take no part; None means all do.
    scale: positive factor on the products of queries and keys.
    tiles: rows that move at once.
    interpret: `plgpu.InterpretGPUParams` (jax 0.11) runs without a GPU, slowly.
  """
  batch, num_queries, heads, width = q.shape
  lengths = _lengths(key_length, batch, k.shape[1])
  v = reference.drop_masked(v, key_length)  # Weight 0 times NaN would stay NaN.
  q, k, v = (pad_rows(x, _COPY_ROWS) for x in (q, k, v))
  rows = pl.cdiv(num_queries, _BLOCK) * _BLOCK
  own = (
    _matrices(_COMPUTE, _ROWS, width),
    _vectors(_COMPUTE, _ROWS),
    plgpu.Barrier(num_barriers=_COMPUTE),
  )
  tile = _matrices(tiles.stages, tiles.keys, width)
  ring = _Ring.scratch(tiles.stages, tile)
  turn = plgpu.Barrier(num_arrivals=_COMPUTE)
  out, lse = _call(
    functools.partial(
      _forward_kernel, plan=_Plan(scale, tiles, interpret is not None)
    ),
    "attention_forward",
    (lengths, q, k, v),
    [
      jax.ShapeDtypeStruct(q.shape, q.dtype),
      jax.ShapeDtypeStruct((batch, heads, rows), jnp.float32),
    ],
    (own, turn, ring, ring),
    rows=num_queries,
    interpret=interpret,
  )
  return out[:, :num_queries], jnp.swapaxes(lse[:, :, :num_queries], 1, 2)


def backward(
  inputs: tuple[Array, Array, Array, Array | None],
  outputs: tuple[Float[Array, "B N K D"], Float[Array, "B N K"]],
  cotangents: tuple[Float[Array, "B N K D"], Float[Array, "B N K"]],
  *,
  scale: float,
  tiles: Tiles = _HOPPER,
  interpret: object | None = None,
) -> tuple[
  Float[Array, "B N K D"], Float[Array, "B M K D"], Float[Array, "B M K D"]
]:
  """Returns the gradients of queries, keys and values.

  Args:
    inputs: q, k, v and key_length, as given to `forward`.
    outputs: what `forward` returned.
    cotangents: of both outputs.
    scale: positive factor on the products of queries and keys.
    tiles: rows that move at once.
    interpret: `plgpu.InterpretGPUParams` (jax 0.11) runs without a GPU, slowly.
  """
  q, k, v, key_length = inputs
  (out, lse), (d_out, d_lse) = outputs, cotangents
  num_queries, num_keys = q.shape[1], k.shape[1]
  shift = jnp.sum(d_out.astype(jnp.float32) * out, axis=-1) - d_lse
  lse = jnp.where(jnp.isfinite(lse), lse, 0) * _LOG2_E
  statistics = [
    pad_rows(jnp.swapaxes(x, 1, 2), _BLOCK, axis=2) for x in (lse, shift)
  ]
  lengths = _lengths(key_length, q.shape[0], num_keys)
  k = reference.drop_masked(k, key_length)  # Gradient 0 times NaN stays NaN.
  q, k, v, d_out = (pad_rows(x, _COPY_ROWS) for x in (q, k, v, d_out))
  arguments = lengths, q, k, v, d_out, *statistics
  plan = _Plan(scale, tiles, interpret is not None)
  d_q = _d_queries(arguments, num_queries, plan, interpret)
  d_k, d_v = _d_keys(arguments, num_keys, plan, interpret)
  return d_q[:, :num_queries], d_k[:, :num_keys], d_v[:, :num_keys]


def _d_queries(arguments, num_queries, plan, interpret):
  """Runs the kernel of the gradient of the queries."""
  q = arguments[1]
  width, stages = q.shape[-1], plan.tiles.d_query_stages
  rows = _matrices(_COMPUTE, _ROWS, width)
  row = _vectors(_COMPUTE, _ROWS)
  full = plgpu.Barrier(num_arrivals=4, num_barriers=_COMPUTE)
  ring = _Ring.scratch(
    stages, _matrices(stages, plan.tiles.d_query_keys, width)
  )
  return _call(
    functools.partial(_d_query_kernel, plan=plan),
    "attention_backward_queries",
    arguments,
    [jax.ShapeDtypeStruct(q.shape, q.dtype)],
    ((rows, rows, row, row, full), ring, ring),
    rows=num_queries,
    interpret=interpret,
  )[0]


def _d_keys(arguments, num_keys, plan, interpret):
  """Runs the kernel of the gradients of keys and values."""
  k = arguments[2]
  width, stages = k.shape[-1], plan.tiles.d_key_stages
  rows = _matrices(_COMPUTE, _ROWS, width)
  full = plgpu.Barrier(num_arrivals=2, num_barriers=_COMPUTE)
  ring = _Ring.scratch(
    stages,
    _matrices(stages, plan.tiles.d_key_queries, width),
    _vectors(stages, plan.tiles.d_key_queries),
  )
  return _call(
    functools.partial(_d_key_kernel, plan=plan),
    "attention_backward_keys",
    arguments,
    [jax.ShapeDtypeStruct(k.shape, k.dtype)] * 2,
    ((rows, rows, full), ring, ring),
    rows=num_keys,
    interpret=interpret,
  )
