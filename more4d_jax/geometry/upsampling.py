"""Motion and depth on a finer grid, guided by the picture and its depth.

A model moves the points of its own, coarse grid; the points of a finer grid of
the same picture borrow their motion. Each fine pixel's is a weighted linear
regression over the 4 x 4 coarse pixels around it. A coarse pixel counts as
much as in bilinear interpolation, times how well its colour and its inverse
depth agree with the fine pixel's: a point beside an edge moves with its own
side, and inside a surface little but bilinear interpolation is left. Where
some of the four nearest do not belong to the surface, a small weight lets the
outer pixels speak in their place.

Motion is in units of a point's first depth. That of a rigid body is linear in
the pixel's place and inverse depth, thus linear in the place on every plane;
there the regression is exact, whatever the weights are.

Source: joint bilateral upsampling (Kopf et al., SIGGRAPH 2007), with local
linear regression in place of the weighted mean, which errs wherever the pixels
of a surface lie on one side.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

_STEPS = 4  # Coarse rows, and columns, around each fine pixel.
_SHIFTS = 4  # Of an estimate of inverse depth towards its mode.


@dataclasses.dataclass(frozen=True)
class Guidance:
  """How strongly differences keep a coarse pixel from a fine one.

  Attributes:
    colour: distance of colours in [0, 1] that costs 1/2; a cost c multiplies
      a weight by exp(-c).
    most_colour: bound of that cost; a clear step of depth outweighs it.
    depth: difference of inverse depths, over the larger one, that costs 1/2.
    free: cost below which pixels agree.
    sharp: times what costs count beyond that: one side is chosen.
    outer: weight of the outer pixels, beside 1 for the four nearest.
    ridge: what holds slopes back, in squared coarse pixels.
  """

  colour: float = 0.1
  most_colour: float = 4.0
  depth: float = 0.01
  free: float = 2.0
  sharp: float = 4.0
  outer: float = 0.01
  ridge: float = 1e-4


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Stencil:
  """Which coarse pixels make up each fine one.

  Attributes:
    rows: of the coarse pixels around each fine row.
    columns: of the coarse pixels around each fine column.
    weights: of the coarse pixels; their sum is 1, some may be negative.
  """

  rows: Int[Array, "4 H"]
  columns: Int[Array, "4 W"]
  weights: Float[Array, "4 4 H W"]

  def apply(self, values: Float[Array, "h w C"]) -> Float[Array, "H W C"]:
    """Values on the fine grid."""
    found = jnp.zeros((*self.weights.shape[2:], values.shape[-1]))
    for i in range(_STEPS):
      for j in range(_STEPS):
        taken = values[self.rows[i][:, None], self.columns[j]]
        found += self.weights[i, j][..., None] * taken
    return found


def upsample_tracks(
  tracks: Float[Array, "T h w 3"],
  first_points: Float[Array, "H W 3"],
  stencil: Stencil,
) -> Float[Array, "T H W 3"]:
  """Trajectories of a finer grid.

  The first frame's are `first_points`. Where the centres of a fine and a coarse
  pixel coincide and their depths agree, the motion is the coarse pixel's own,
  up to rounding.

  Args:
    tracks: metres, in the first camera's frame; first depths are positive.
      Any part of the frames beside the first may be given.
    first_points: of the fine grid, metres; see `cameras.unproject`.
    stencil: `motion_stencil` of the two grids.
  """
  motion = (tracks[1:] - tracks[0]) / tracks[0, ..., 2:]

  def frame(motion: Float[Array, "h w 3"]) -> Float[Array, "H W 3"]:
    return first_points + stencil.apply(motion) * first_points[..., 2:]

  later = jax.lax.map(frame, motion)
  return jnp.concatenate([first_points[None], later])


def motion_stencil(
  coarse_depth: Float[Array, "h w"],
  depth: Float[Array, "H W"],
  colours: Float[Array, "H W 3"],
  guidance: Guidance | None = None,
) -> Stencil:
  """Weights that follow the edges of a picture and of its depth.

  Args:
    coarse_depth: metres, positive, of the grid that the motion is known on.
    depth: metres, positive, of the same picture's finer grid.
    colours: of the finer grid, in [0, 1].
    guidance: what keeps pixels apart.
  """
  guidance = guidance or Guidance()
  grid = _Grid.of(coarse_depth.shape, depth.shape)
  inverse = 1 / depth
  cost = _colour_cost(grid, colours, coarse_depth.shape, guidance)
  cost += _depth_cost(grid, 1 / coarse_depth, inverse, guidance.depth)
  cost = guidance.sharp * jnp.maximum(cost - guidance.free, 0.0)
  return _stencil(grid, cost, guidance)


def upsample_depth(
  coarse_depth: Float[Array, "h w"],
  colours: Float[Array, "H W 3"],
  guidance: Guidance | None = None,
) -> Float[Array, "H W"]:
  """Depth on a finer grid; at an edge, each pixel takes one side's.

  Colour alone says which coarse pixels speak for a fine one; where they do not
  agree, their mode is taken and not their mean, so that no point floats
  between two surfaces.

  Args:
    coarse_depth: metres, positive.
    colours: of the finer grid, in [0, 1].
    guidance: what keeps pixels apart.

  Returns:
    Metres; within the range of `coarse_depth`.
  """
  guidance = guidance or Guidance(most_colour=12.0)
  size = colours.shape[0], colours.shape[1]
  grid = _Grid.of(coarse_depth.shape, size)
  coarse = 1 / coarse_depth
  colour = _colour_cost(grid, colours, coarse_depth.shape, guidance)
  estimate = _stencil(grid, colour, guidance).apply(coarse[..., None])[..., 0]
  low, high = jnp.min(coarse), jnp.max(coarse)
  for _ in range(_SHIFTS):
    estimate = jnp.clip(estimate, low, high)
    cost = colour + _depth_cost(grid, coarse, estimate, 5 * guidance.depth)
    stencil = _stencil(grid, cost, guidance)
    estimate = stencil.apply(coarse[..., None])[..., 0]
  return 1 / jnp.clip(estimate, low, high)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class _Grid:
  """The coarse pixels around every fine one.

  Attributes:
    rows, columns: their numbers, moved into the grid.
    down, right: from the fine pixel to them, in coarse pixels.
    inside_rows, inside_columns: False for those that were moved.
  """

  rows: Int[Array, "4 H"]
  columns: Int[Array, "4 W"]
  down: Float[Array, "4 H"]
  right: Float[Array, "4 W"]
  inside_rows: Bool[Array, "4 H"]
  inside_columns: Bool[Array, "4 W"]

  @classmethod
  def of(cls, coarse: tuple[int, int], fine: tuple[int, int]) -> "_Grid":
    """The grid of two sizes (height, width)."""
    rows, down, inside_rows = _around(coarse[0], fine[0])
    columns, right, inside_columns = _around(coarse[1], fine[1])
    return cls(rows, columns, down, right, inside_rows, inside_columns)

  def take(self, values: Float[Array, "h w *C"]) -> Float[Array, "4 4 H W *C"]:
    """Values of the pixels around every fine one."""
    return values[self.rows[:, None, :, None], self.columns[None, :, None]]

  def offsets(self) -> tuple[Float[Array, "4 1 H 1"], Float[Array, "1 4 1 W"]]:
    """`down` and `right`, to be broadcast against what `take` gives."""
    return self.down[:, None, :, None], self.right[None, :, None]

  def inside(self) -> Bool[Array, "4 4 H W"]:
    """False for pixels beyond the border."""
    rows = self.inside_rows[:, None, :, None]
    return rows & self.inside_columns[None, :, None]


def _around(
  coarse: int, fine: int
) -> tuple[Int[Array, "4 n"], Float[Array, "4 n"], Bool[Array, "4 n"]]:
  """Numbers of the coarse pixels, their offsets, and whether they exist."""
  place = (jnp.arange(fine) + 0.5) * (coarse / fine) - 0.5
  first = jnp.floor(place).astype(jnp.int32) - (_STEPS // 2 - 1)
  number = first + jnp.arange(_STEPS)[:, None]
  inside = (number >= 0) & (number < coarse)
  return jnp.clip(number, 0, coarse - 1), number - place, inside


def _colour_cost(
  grid: _Grid,
  colours: Float[Array, "H W 3"],
  coarse: tuple[int, int],
  guidance: Guidance,
) -> Float[Array, "4 4 H W"]:
  """What the difference to the colour at a coarse pixel's centre costs."""
  centres = jax.image.scale_and_translate(
    colours,
    (*coarse, 3),
    (0, 1),
    jnp.asarray([n / m for n, m in zip(coarse, colours.shape)]),
    jnp.zeros(2),
    "linear",
    antialias=False,
  )
  squared = jnp.sum((grid.take(centres) - colours) ** 2, axis=-1)
  cost = squared / (2 * guidance.colour**2)
  return guidance.most_colour * cost / (guidance.most_colour + cost)


def _depth_cost(
  grid: _Grid,
  coarse: Float[Array, "h w"],
  fine: Float[Array, "H W"],
  scale: float,
) -> Float[Array, "4 4 H W"]:
  """What the difference of inverse depths costs, slant taken off."""
  down, right = grid.offsets()
  slope_down, slope_right = _slope(coarse, 0), _slope(coarse, 1)
  near = grid.take(coarse)
  slant = grid.take(slope_down) * down + grid.take(slope_right) * right
  difference = (fine - near + slant) / (scale * jnp.maximum(fine, near))
  return difference**2 / 2


def _slope(values: Float[Array, "h w"], axis: int) -> Float[Array, "h w"]:
  """The gentler of the differences to both neighbours: one does not cross."""
  if values.shape[axis] == 1:
    return jnp.zeros_like(values)
  step = jnp.diff(values, axis=axis)
  ahead = jnp.concatenate([step, jnp.take(step, jnp.array([-1]), axis)], axis)
  behind = jnp.concatenate([jnp.take(step, jnp.array([0]), axis), step], axis)
  return jnp.where(jnp.abs(ahead) < jnp.abs(behind), ahead, behind)


def _stencil(
  grid: _Grid, cost: Float[Array, "4 4 H W"], guidance: Guidance
) -> Stencil:
  """Weights of the regression's value at each fine pixel.

  The outer pixels weigh as much as costs take from the four nearest.
  """
  down, right = grid.offsets()
  inside = grid.inside()
  nearest = jnp.where(
    inside,
    jnp.maximum(1 - jnp.abs(down), 0) * jnp.maximum(1 - jnp.abs(right), 0),
    0.0,
  )
  axes = (0, 1)
  rejected = jnp.sum(nearest * -jnp.expm1(-cost), axes)
  around = jnp.where(inside, jnp.exp(-(down**2 + right**2) / 2), 0.0)
  prior = nearest + guidance.outer * rejected * around
  weights = jax.nn.softmax(jnp.log(prior) - cost, axes)
  mean_down = jnp.sum(weights * down, axes)
  mean_right = jnp.sum(weights * right, axes)
  down, right = down - mean_down, right - mean_right
  # Once more, for the rounding of the means, which small variances magnify.
  down -= jnp.sum(weights * down, axes)
  right -= jnp.sum(weights * right, axes)
  both = jnp.sum(weights * down * right, axes)
  of_down = jnp.sum(weights * down**2, axes) + guidance.ridge
  of_right = jnp.sum(weights * right**2, axes) + guidance.ridge
  determinant = of_down * of_right - both**2
  pull_down = (of_right * mean_down - both * mean_right) / determinant
  pull_right = (of_down * mean_right - both * mean_down) / determinant
  weights *= 1 - pull_down * down - pull_right * right
  return Stencil(grid.rows, grid.columns, weights / jnp.sum(weights, axes))
