"""Flash attention for TPUs in Pallas: forward pass and fused backward pass.

Scores are held transposed, keys on sublanes and queries on lanes, so that the
maximum and the sum over keys run across sublanes and their results spread
over them at no cost; outputs and the gradient of the queries are accumulated
transposed as well and turned once at the end. Exponentials are base 2.

The backward pass is one kernel with five matrix products per tile. It walks
over the queries for each tile of keys; the gradient of the queries of one
head stays in VMEM all the while (4 bytes per element), so nothing of the size
of the score matrix, nor any partial sums, reach HBM.

Lengths need no padding: tiles may stick out of the arrays, where reads give
anything; rows outside are masked in the tiles that have some.
"""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu
from jaxtyping import Array, Float, Int

_LOG2_E = math.log2(math.e)
_LANES = 128
_SUBLANES = 16  # of bfloat16; twice as many as of float32
_FLOOR = -1e30  # Below every score; finite, so that differences stay numbers.
# The gradient of this many query elements fits in VMEM beside the tiles.
_RESIDENT_ELEMENTS = 6 << 20
_DOT_ROWS = (((1,), (1,)), ((), ()))  # x @ y.T
_DOT_COLUMNS = (((0,), (0,)), ((), ()))  # x.T @ y
_DOT = (((1,), (0,)), ((), ()))  # x @ y


@dataclasses.dataclass(frozen=True)
class Tiles:
  """Rows of queries and keys in a grid step, and how they are divided.

  Attributes:
    queries: largest tile of queries of the forward pass.
    keys: largest tile of keys of the forward pass.
    keys_at_once: keys between two updates of the running maximum.
    slices_ahead: number of slices of keys that are multiplied with the
      queries before the exponentials of the first one are computed, so that
      the matrix units are busy meanwhile.
    backward_queries: largest tile of queries of the backward pass.
    backward_keys: largest tile of keys of the backward pass.
    backward_keys_at_once: keys in one group of five matrix products.
    vmem_bytes: limit that the compiler is given.
  """

  queries: int = 2048
  keys: int = 1024
  keys_at_once: int = 128
  slices_ahead: int = 8
  backward_queries: int = 1024
  backward_keys: int = 1024
  backward_keys_at_once: int = 384
  vmem_bytes: int = 48 << 20


# By `device_kind` of a device; None where it is not known. Chosen by counting
# instructions (`benchmarks/tpu_bundles.py`). The tiles of the backward pass
# leave room for the resident gradient in 64 MiB of VMEM.
_WIDE = Tiles(slices_ahead=3, backward_keys_at_once=512)  # Units 256 wide.
TILES: dict[str | None, Tiles] = {
  None: Tiles(),
  "TPU v5 lite": Tiles(),
  "TPU v5": Tiles(),
  "TPU v5p": Tiles(),
  "TPU v6 lite": _WIDE,
  "TPU7x": _WIDE,
}


def tiles_for(device_kind: str | None) -> Tiles:
  """Returns the tiles of a kind of device, those of None for unknown ones."""
  return TILES.get(device_kind, TILES[None])


def unsupported(
  width: int, dtype: jax.typing.DTypeLike, device_kind: str | None = None
) -> str:
  """Returns why the kernel cannot run, or an empty string.

  None stands for a device that is not known, which passes.
  """
  if width not in (64, 128):
    return f"takes head widths 64 and 128, not {width}"
  if dtype not in (jnp.bfloat16, jnp.float32):
    return f"takes bfloat16 and float32, not {jnp.dtype(dtype).name}"
  if device_kind is not None and not device_kind.startswith("TPU"):
    return f"takes TPUs, not {device_kind}"
  return ""


def fit_tile(length: int, largest: int) -> int:
  """Returns the multiple of 128 up to `largest` that computes least.

  Counts the rows that the tiles cover and, per tile, the cost of 32 rows.
  """
  if length <= largest:
    return pl.cdiv(length, _LANES) * _LANES
  candidates = range(largest, min(512, largest) - 1, -_LANES)
  return min(candidates, key=lambda t: pl.cdiv(length, t) * (t + 32))


def _matmul(x, y, dimensions):
  precision = None
  if x.dtype == jnp.float32:
    precision = jax.lax.Precision.HIGHEST
  return jax.lax.dot_general(
    x,
    y,
    dimensions,
    precision=precision,
    preferred_element_type=jnp.float32,
  )


def _exponential(dtype):
  """Returns the unit of the scores, in natural logarithms, and its inverse.

  Base 2 saves a product per score; rounding the longer constant costs a
  bit that only float32 inputs would miss.
  """
  return (1.0, jnp.exp) if dtype == jnp.float32 else (_LOG2_E, jnp.exp2)


def _keep_rows(x, length, fill=0):
  """Replaces the rows at or beyond `length`."""
  row = jax.lax.broadcasted_iota(jnp.int32, x.shape, 0)
  return jnp.where(row < length, x, jnp.full_like(x, fill))


def _for_valid(tile, tail, left, last, run):
  """Runs one tile of keys: whole, up to a static tail, or masked.

  Args:
    tile: keys of a tile.
    tail: keys of the last tile if all keys of the array are valid, else None.
    left: valid keys from this tile on.
    last: whether this is the last tile.
    run: takes the number of keys to compute and, where some of them are to be
      masked, how many are valid.
  """
  if tail is None:
    pl.when(left >= tile)(lambda: run(tile, None))
    pl.when((left < tile) & (left > 0))(lambda: run(tile, left))
  elif tail == tile:
    run(tile, None)
  else:
    pl.when(~last)(lambda: run(tile, None))
    pl.when(last)(lambda: run(tail, tail if tail % _SUBLANES else None))


def _slices(rows, at_once):
  """Starts and sizes of slices of rows; sizes fill whole registers."""
  for start in range(0, rows, at_once):
    size = min(at_once, rows - start)
    yield start, pl.cdiv(size, _SUBLANES) * _SUBLANES


def _forward_kernel(
  length_ref, q_ref, k_ref, v_ref, out_ref, lse_ref, *scratch,
  scale, tiles, tail,
):  # fmt: skip
  acc_ref, top_ref, total_ref = scratch  # [D q], [1 q], [1 q]
  tile = k_ref.shape[0]
  step, last_step = pl.program_id(3), pl.num_programs(3) - 1
  left = length_ref[pl.program_id(0)] - step * tile  # valid keys from here on
  unit, exp = _exponential(q_ref.dtype)

  @pl.when(step == 0)
  def _():
    acc_ref[...] = jnp.zeros_like(acc_ref)
    top_ref[...] = jnp.full_like(top_ref, _FLOOR)
    total_ref[...] = jnp.zeros_like(total_ref)

  def run(keys, valid):
    q = q_ref[...]
    acc, top, total = acc_ref[...], top_ref[...], total_ref[...]
    slices = [
      (pl.ds(start, size), None if valid is None else valid - start)
      for start, size in _slices(keys, tiles.keys_at_once)
    ]
    waiting = []  # Products of the slices to come.
    for i, (rows, slice_valid) in enumerate(slices):
      for ahead, _ in slices[i + len(waiting) : i + tiles.slices_ahead]:
        waiting.append(_matmul(k_ref[ahead, :], q, _DOT_ROWS))
      v = v_ref[rows, :]
      scores = waiting.pop(0)
      if valid is not None:
        v = _keep_rows(v, slice_valid)
        scores = _keep_rows(scores, slice_valid, -jnp.inf)
      new_top = jnp.maximum(top, jnp.max(scores, axis=0, keepdims=True))
      # Scaled afterwards: the compiler would scale before the maximum and
      # once more, rather than keep scaled scores.
      weights = exp((scores - new_top) * (scale * unit))
      shrink = exp((top - new_top) * (scale * unit))
      total = shrink * total + jnp.sum(weights, axis=0, keepdims=True)
      acc = shrink * acc + _matmul(v, weights.astype(v.dtype), _DOT_COLUMNS)
      top = new_top
    acc_ref[...], top_ref[...], total_ref[...] = acc, top, total

  _for_valid(tile, tail, left, step == last_step, run)

  @pl.when(step == last_step)
  def _():
    total = total_ref[...]
    inverse = 1 / jnp.where(total > 0, total, 1)
    out_ref[...] = (acc_ref[...] * inverse).T.astype(out_ref.dtype)
    lse = top_ref[...] * scale + jnp.log(total)
    lse_ref[...] = jnp.where(total > 0, lse, -jnp.inf)


def _backward_kernel(
  length_ref, q_ref, k_ref, v_ref, d_out_ref, lse_ref, shift_ref, *refs,
  scale, at_once, tail,
):  # fmt: skip
  d_q_ref, d_k_ref, d_v_ref, d_q_acc, d_k_acc, d_v_acc = refs
  tile = k_ref.shape[0]
  key_step, query_step = pl.program_id(2), pl.program_id(3)
  last_key_step = pl.num_programs(2) - 1
  left = length_ref[pl.program_id(0)] - key_step * tile
  unit, exp = _exponential(q_ref.dtype)

  @pl.when(key_step == 0)
  def _():
    d_q_acc[query_step] = jnp.zeros(d_q_acc.shape[1:], d_q_acc.dtype)

  @pl.when(query_step == 0)
  def _():
    d_k_acc[...] = jnp.zeros_like(d_k_acc)
    d_v_acc[...] = jnp.zeros_like(d_v_acc)

  def run(keys, valid):
    q, d_out = q_ref[...], d_out_ref[...]
    lse, shift = lse_ref[...], shift_ref[...]  # [1 q]
    d_q = d_q_acc[query_step]  # [D q]
    for start, size in _slices(keys, at_once):
      rows = pl.ds(start, size)
      k, v = k_ref[rows, :], v_ref[rows, :]
      if valid is not None:
        k, v = (_keep_rows(x, valid - start) for x in (k, v))
      scores = _matmul(k, q, _DOT_ROWS) * (scale * unit)
      weights = exp(scores - lse)
      if valid is not None:
        weights = _keep_rows(weights, valid - start)
      d_v_acc[rows, :] += _matmul(weights.astype(d_out.dtype), d_out, _DOT)
      d_weights = _matmul(v, d_out, _DOT_ROWS)
      d_scores = (weights * (d_weights - shift)).astype(q.dtype)
      d_k_acc[rows, :] += _matmul(d_scores, q, _DOT)
      d_q += _matmul(k, d_scores, _DOT_COLUMNS)
    d_q_acc[query_step] = d_q

  _for_valid(tile, tail, left, key_step == last_key_step, run)

  @pl.when(key_step == last_key_step)
  def _():
    d_q_ref[...] = (d_q_acc[query_step] * scale).T.astype(d_q_ref.dtype)

  @pl.when(query_step == pl.num_programs(3) - 1)
  def _():
    d_k_ref[...] = (d_k_acc[...] * scale).astype(d_k_ref.dtype)
    d_v_ref[...] = d_v_acc[...].astype(d_v_ref.dtype)


def _last_tile(lengths, sample, tile):
  """Index of the last tile with a valid key; later ones are not fetched."""
  return jnp.maximum(pl.cdiv(lengths[sample], tile) - 1, 0)


def _shape(shape, dtype, like):
  """Shape of an output that varies over the mesh axes that `like` does."""
  axes = jax.typeof(like).manual_axis_type
  return jax.ShapeDtypeStruct(shape, dtype, manual_axis_type=axes)


def _lengths(key_length, batch, num_keys):
  if key_length is None:
    return jnp.full((batch,), num_keys, jnp.int32)
  return jnp.minimum(key_length, num_keys).astype(jnp.int32)


def _key_tile(num_keys, largest, key_length):
  """Keys of a tile; the last one is cut short where lengths are static."""
  if key_length is not None:
    return fit_tile(num_keys, largest)
  return min(largest, pl.cdiv(num_keys, _LANES) * _LANES)


def _tail(key_length, num_keys, tile):
  """Keys in the last tile, if no sample has a length of its own."""
  return (num_keys - 1) % tile + 1 if key_length is None else None


def _parameters(tiles):
  return pltpu.CompilerParams(
    dimension_semantics=("parallel", "parallel", "arbitrary", "arbitrary"),
    vmem_limit_bytes=tiles.vmem_bytes,
  )


def _cost(q, num_keys, products):
  """The cost that XLA assumes of a pass.

  Args:
    q: queries.
    num_keys: number of keys.
    products: matrix products for each tile.
  """
  scores = q.size // q.shape[-1] * num_keys
  traffic = q.size * (1 + num_keys / max(q.size // q.shape[-1], 1))
  return pl.CostEstimate(
    flops=2 * products * scores * q.shape[-1],
    transcendentals=scores,
    bytes_accessed=int(products * traffic) * q.dtype.itemsize,
  )


def forward(
  q: Float[Array, "B N K D"],
  k: Float[Array, "B M K D"],
  v: Float[Array, "B M K D"],
  key_length: Int[Array, "B"] | None,
  *,
  scale: float,
  tiles: Tiles = TILES[None],
  interpret: bool | pltpu.InterpretParams = False,
) -> tuple[Float[Array, "B N K D"], Float[Array, "B N K"]]:
  """Returns the weighted values and the log-sum-exp of every query.

  Args:
    q: queries, bfloat16 or float32, width 64 or 128.
    k: keys.
    v: values.
    key_length: keys at or beyond this index take no part; None means all do.
    scale: positive factor on the products of queries and keys.
    tiles: upper bounds of the tiles.
    interpret: runs without a TPU, slowly; see `pl.pallas_call`.
  """
  batch, num_queries, heads, width = q.shape
  num_keys = k.shape[1]
  q_tile = fit_tile(num_queries, tiles.queries)
  k_tile = _key_tile(num_keys, tiles.keys, key_length)
  steps = pl.cdiv(num_queries, q_tile), pl.cdiv(num_keys, k_tile)

  def at_query(b, h, i, j, lengths):
    del j, lengths
    return b, h, i, 0

  def at_key(b, h, i, j, lengths):
    del i
    return b, h, jnp.minimum(j, _last_tile(lengths, b, k_tile)), 0

  q_spec = pl.BlockSpec((None, None, q_tile, width), at_query)
  k_spec = pl.BlockSpec((None, None, k_tile, width), at_key)
  row_spec = pl.BlockSpec(
    (None, None, 1, q_tile), lambda b, h, i, j, lengths: (b, h, 0, i)
  )
  row = (1, q_tile)
  grid = pltpu.PrefetchScalarGridSpec(
    num_scalar_prefetch=1,
    grid=(batch, heads, *steps),
    in_specs=[q_spec, k_spec, k_spec],
    out_specs=[q_spec, row_spec],
    scratch_shapes=[
      pltpu.VMEM(shape, jnp.float32) for shape in ((width, q_tile), row, row)
    ],
  )
  out, lse = pl.pallas_call(
    functools.partial(
      _forward_kernel,
      scale=scale,
      tiles=tiles,
      tail=_tail(key_length, num_keys, k_tile),
    ),
    grid_spec=grid,
    out_shape=[
      _shape((batch, heads, num_queries, width), q.dtype, q),
      _shape((batch, heads, 1, num_queries), jnp.float32, q),
    ],
    compiler_params=_parameters(tiles),
    cost_estimate=_cost(q, num_keys, products=2),
    interpret=interpret,
    name="attention_forward",
  )(
    _lengths(key_length, batch, num_keys),
    *(jnp.swapaxes(x, 1, 2) for x in (q, k, v)),
  )
  return jnp.swapaxes(out, 1, 2), jnp.swapaxes(lse[:, :, 0], 1, 2)


def backward(
  inputs: tuple[Array, Array, Array, Array | None],
  outputs: tuple[Float[Array, "B N K D"], Float[Array, "B N K"]],
  cotangents: tuple[Float[Array, "B N K D"], Float[Array, "B N K"]],
  *,
  scale: float,
  tiles: Tiles = TILES[None],
  interpret: bool | pltpu.InterpretParams = False,
) -> tuple[
  Float[Array, "B N K D"], Float[Array, "B M K D"], Float[Array, "B M K D"]
]:
  """Returns the gradients of queries, keys and values.

  More queries than fit beside the tiles are taken in several calls.

  Args:
    inputs: q, k, v and key_length, as given to `forward`.
    outputs: what `forward` returned.
    cotangents: of both outputs.
    scale: factor on the products of queries and keys.
    tiles: upper bounds of the tiles.
    interpret: runs without a TPU, slowly; see `pl.pallas_call`.
  """
  q, k, v, key_length = inputs
  out, lse = outputs
  d_out, d_lse = cotangents
  shift = jnp.sum(d_out.astype(jnp.float32) * out, axis=-1) - d_lse
  lse = jnp.where(jnp.isfinite(lse), lse, 0) * _exponential(q.dtype)[0]
  k, v = jnp.swapaxes(k, 1, 2), jnp.swapaxes(v, 1, 2)
  part = _RESIDENT_ELEMENTS // q.shape[-1] // _LANES * _LANES
  d_q, d_k, d_v = [], 0, 0
  for start in range(0, q.shape[1], part):
    rows = [x[:, start : start + part] for x in (q, d_out, lse, shift)]
    part_d_q, part_d_k, part_d_v = _backward_part(
      [jnp.swapaxes(x, 1, 2) for x in rows],
      (key_length, k, v),
      scale=scale,
      tiles=tiles,
      interpret=interpret,
    )
    d_q.append(jnp.swapaxes(part_d_q, 1, 2))
    d_k, d_v = d_k + part_d_k, d_v + part_d_v
  d_q = jnp.concatenate(d_q, axis=1)
  return d_q, jnp.swapaxes(d_k, 1, 2), jnp.swapaxes(d_v, 1, 2)


def _backward_part(rows, keys, *, scale, tiles, interpret):
  """Gradients from queries of which one head fits in VMEM.

  Args:
    rows: q and d_out [B K N D], lse and shift [B K N].
    keys: key_length [B] or None, k and v [B K M D].
  """
  q, d_out, *statistics = rows
  key_length, k, v = keys
  batch, heads, num_queries, width = q.shape
  num_keys = k.shape[2]
  q_tile = fit_tile(num_queries, tiles.backward_queries)
  k_tile = _key_tile(num_keys, tiles.backward_keys, key_length)
  steps = pl.cdiv(num_keys, k_tile), pl.cdiv(num_queries, q_tile)
  # Zero queries with zero statistics add nothing.
  fill = (0, steps[1] * q_tile - num_queries)
  statistics = [
    jnp.pad(x[:, :, None], ((0, 0), (0, 0), (0, 0), fill)) for x in statistics
  ]
  filled = [jnp.pad(x, ((0, 0), (0, 0), fill, (0, 0))) for x in (q, d_out)]

  def at_key(b, h, j, i, lengths):
    del i
    return b, h, jnp.minimum(j, _last_tile(lengths, b, k_tile)), 0

  def d_query(b, h, j, i, lengths):
    del lengths  # Each tile leaves once, during the last sweep over queries.
    return b, h, jnp.where(j == steps[0] - 1, i, 0), 0

  q_block, k_block = ((None, None, tile, width) for tile in (q_tile, k_tile))
  q_spec = pl.BlockSpec(q_block, lambda b, h, j, i, lengths: (b, h, i, 0))
  k_spec = pl.BlockSpec(k_block, at_key)
  row_spec = pl.BlockSpec(
    (None, None, 1, q_tile), lambda b, h, j, i, lengths: (b, h, 0, i)
  )
  d_k_spec = pl.BlockSpec(k_block, lambda b, h, j, i, lengths: (b, h, j, 0))
  scratch = (steps[1], width, q_tile), (k_tile, width), (k_tile, width)
  grid = pltpu.PrefetchScalarGridSpec(
    num_scalar_prefetch=1,
    grid=(batch, heads, *steps),
    in_specs=[q_spec, k_spec, k_spec, q_spec, row_spec, row_spec],
    out_specs=[pl.BlockSpec(q_block, d_query), d_k_spec, d_k_spec],
    scratch_shapes=[pltpu.VMEM(shape, jnp.float32) for shape in scratch],
  )
  return pl.pallas_call(
    functools.partial(
      _backward_kernel,
      scale=scale,
      at_once=tiles.backward_keys_at_once,
      tail=_tail(key_length, num_keys, k_tile),
    ),
    grid_spec=grid,
    out_shape=[_shape(x.shape, x.dtype, q) for x in (q, k, v)],
    compiler_params=_parameters(tiles),
    cost_estimate=_cost(q, num_keys, products=5),
    interpret=interpret,
    name="attention_backward",
  )(
    _lengths(key_length, batch, num_keys),
    filled[0],
    k,
    v,
    filled[1],
    *statistics,
  )
