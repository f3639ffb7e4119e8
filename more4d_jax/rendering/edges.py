"""Surfaces of a picture: where depth breaks off, and points between them.

Estimated depth is soft at the outlines of objects. The points of such a ramp
lie on no surface, and another view shows them as specks in the air. Here each
of them goes to the surface beside it, along its own ray, so that the first
camera sees the same picture as before.

Everything is judged by inverse depth, which a plane changes linearly over a
picture: a floor is no ramp, however steep.
"""

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

_REACH = 4  # Steps of the grid; half the width of a ramp.
_SHARE = 0.03  # Of a ramp's jump; what both steps of a point on it exceed.
_LINK = 0.4  # Of the threshold; change from a point to the next of a surface.
_STRETCH = 2.0  # Neighbours whose distance grew by more are torn apart.


@flax.struct.dataclass
class Surfaces:
  """What the first frame says about the grid of points.

  Attributes:
    source: number of the point that each one moves with; its own for most.
    shift: from the place of its source to its own; metres.
    kept: False for points that belong to no surface.
    right: True where a point and the next of its row lie on one surface.
    down: the same for the next of its column.
    first: points of frame 0, after they have gone to their surface.
  """

  source: Int[Array, "h w"]
  shift: Float[Array, "h w 3"]
  kept: Bool[Array, "h w"]
  right: Bool[Array, "h w"]
  down: Bool[Array, "h w"]
  first: Float[Array, "h w 3"]

  def move(self, points: Float[Array, "h w 3"]) -> Float[Array, "h w 3"]:
    """Points of any frame; NaN where a point belongs to no surface."""
    taken = points.reshape(-1, 3)[self.source]
    moved = jnp.where(self.kept[..., None], taken + self.shift, jnp.nan)
    own = self.source == jnp.arange(self.source.size).reshape(self.source.shape)
    return jnp.where(own[..., None], points, moved)

  def links(
    self, points: Float[Array, "h w 3"]
  ) -> tuple[Bool[Array, "h w"], Bool[Array, "h w"]]:
    """`right` and `down` of a frame in which surfaces may have torn."""
    out = []
    for linked, axis in ((self.right, 1), (self.down, 0)):
      before = _squared_step(self.first, axis)
      now = _squared_step(points, axis)
      out.append(linked & (now <= _STRETCH**2 * before))
    return out[0], out[1]


def find(first: Float[Array, "h w 3"], threshold: float) -> Surfaces:
  """Surfaces of the points that the first camera sees.

  Args:
    first: points of frame 0 in its camera's frame; metres.
    threshold: relative change of depth at which one surface ends and another
      begins; 0 keeps every point where it is and sees one surface.
  """
  depth = first[..., 2]
  own = jnp.arange(depth.size).reshape(depth.shape)
  if threshold <= 0:
    right = jnp.ones(depth.shape, bool).at[:, -1].set(False)
    down = jnp.ones(depth.shape, bool).at[-1].set(False)
    kept = jnp.ones(depth.shape, bool)
    return Surfaces(own, jnp.zeros_like(first), kept, right, down, first)
  usable = jnp.isfinite(depth) & (depth > 0)
  inverse = jnp.where(usable, 1 / jnp.where(usable, depth, 1), 0)
  source = _nearest_surface(inverse, on_ramp(inverse, threshold))
  kept = source >= 0
  source = jnp.where(kept, source, own)
  beside = first.reshape(-1, 3)[source]
  moved = first * (beside[..., 2] / depth)[..., None]
  moved = jnp.where((source == own)[..., None], first, moved)
  inverse = inverse.ravel()[source]
  return Surfaces(
    source,
    moved - beside,
    kept,
    _one_surface(inverse, threshold) & _neighbours(kept, 1),
    _one_surface(inverse.T, threshold).T & _neighbours(kept, 0),
    moved,
  )


def on_ramp(
  inverse: Float[Array, "h w"], threshold: float
) -> Bool[Array, "h w"]:
  """True for points between two surfaces, in rows or in columns."""
  return _ramps(inverse, threshold) | _ramps(inverse.T, threshold).T


def _ramps(
  inverse: Float[Array, "h w"], threshold: float
) -> Bool[Array, "h w"]:
  """`on_ramp` along the rows."""
  step = jnp.diff(inverse, axis=1, append=inverse[:, -1:])
  size = jnp.abs(step)
  # A plane is as steep on at least one side; a ramp is flat on both.
  before = _window(size, jax.lax.min, jnp.inf, _REACH, 0)
  after = _window(size, jax.lax.min, jnp.inf, 0, _REACH)
  excess = jnp.sign(step) * (size - jnp.maximum(before, after))
  jump = jnp.abs(_window(excess, jax.lax.add, 0.0, _REACH, _REACH))
  previous = jnp.roll(excess, 1, axis=1).at[:, 0].set(0)
  least = jnp.minimum(jnp.abs(excess), jnp.abs(previous))
  steady = excess * previous > 0
  return steady & (least > _SHARE * jump) & (jump > threshold * inverse)


def _window(values, combine, start, before, after):
  """Combines each value of a row with its neighbours within a reach."""
  return jax.lax.reduce_window(
    values,
    start,
    combine,
    (1, before + after + 1),
    (1, 1),
    ((0, 0), (before, after)),
  )


def _nearest_surface(
  inverse: Float[Array, "h w"], loose: Bool[Array, "h w"]
) -> Int[Array, "h w"]:
  """Point of a surface nearby that is closest in depth; -1 if there is none."""
  own = jnp.arange(inverse.size).reshape(inverse.shape)
  source = jnp.where(loose, -1, own)

  def grow(_, source):
    best, closest = source, jnp.full(inverse.shape, jnp.inf)
    padded = jnp.pad(source, 1, constant_values=-1)
    height, width = inverse.shape
    for y, x in ((0, 1), (2, 1), (1, 0), (1, 2)):
      beside = padded[y : y + height, x : x + width]
      apart = jnp.abs(inverse.ravel()[beside] - inverse)
      better = (beside >= 0) & (apart < closest)
      best = jnp.where(better, beside, best)
      closest = jnp.where(better, apart, closest)
    return jnp.where(source >= 0, source, best)

  return jax.lax.fori_loop(0, 2 * _REACH, grow, source)


def _one_surface(
  inverse: Float[Array, "h w"], threshold: float
) -> Bool[Array, "h w"]:
  """True where a point and the next of its row continue each other."""
  after = jnp.roll(inverse, -1, axis=1)
  allowed = _LINK * threshold * jnp.maximum(inverse, after)
  step = after - inverse
  # A steep surface goes on as steeply on both sides.
  before = jnp.roll(step, 1, axis=1).at[:, 0].set(step[:, 0])
  later = jnp.roll(step, -1, axis=1).at[:, -2:].set(step[:, -2:])
  bend = jnp.maximum(jnp.abs(step - before), jnp.abs(step - later))
  steady = bend <= jnp.minimum(allowed, 0.3 * jnp.abs(step))
  linked = (jnp.abs(step) <= allowed) | steady
  linked &= (inverse > 0) & (after > 0)
  return linked.at[:, -1].set(False)


def _neighbours(kept: Bool[Array, "h w"], axis: int) -> Bool[Array, "h w"]:
  return kept & jnp.roll(kept, -1, axis)


def _squared_step(
  points: Float[Array, "h w 3"], axis: int
) -> Float[Array, "h w"]:
  """Squared distance to the next point along an axis, by component."""
  total = 0.0
  for i in range(3):
    values = points[..., i]
    total += (jnp.roll(values, -1, axis) - values) ** 2
  return total
