"""Gaussian splatting: points as soft spots, composed from front to back.

Differentiable in everything that makes up the picture: points, colours,
opacities, scales, pose and intrinsics.

Every spot reaches a window of pixels around its centre. The spots of all
windows are sorted by pixel, those of one pixel by depth, and composed by a
scan along the sorted list. Work and memory grow with the number of points
times the pixels of a window.

Source: docs/method/rendering.md#gaussian-splatting; Kerbl et al., 3D Gaussian
Splatting for Real-Time Radiance Field Rendering, SIGGRAPH 2023. Differs from
the original: the principal point may lie anywhere, and depth and coverage
come from the same spots.
"""

import dataclasses
import functools

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from more4d_jax.geometry import cameras
from more4d_jax.rendering import gaussians

_LEAST_LIGHT = 1e-4  # Nothing is added once so little light passes.
_FRUSTUM = 1.3  # Bound on x / z in the Jacobian, in half angles of view.


@dataclasses.dataclass(frozen=True)
class SplatOptions:
  """How spots are drawn.

  Attributes:
    low_pass: square pixels added to a spot's variance along both axes.
    antialias: True lowers the opacity of a spot by as much as the low pass
      enlarges it, so that distant surfaces do not swell.
    radius: pixels that a spot reaches from the pixel of its centre.
    near: metres; nearer points are left out.
    least_alpha: what adds less is left out.
    most_alpha: no spot is more opaque.
  """

  low_pass: float = 0.1
  antialias: bool = True
  radius: int = 2
  near: float = 1e-3
  least_alpha: float = 1 / 255
  most_alpha: float = 0.99

  def __post_init__(self):
    if self.low_pass <= 0 or self.radius < 0 or self.near <= 0:
      raise ValueError(f"expected positive numbers: {self}")


DEFAULT = SplatOptions()
# The rules of the original's rasteriser; its points have `PUBLISHED_SCALE`.
PUBLISHED = SplatOptions(low_pass=0.3, antialias=False, radius=3, near=0.2)
PUBLISHED_SCALE = 1e-4


@flax.struct.dataclass
class Splats:
  """Gaussians in the world.

  Attributes:
    points: centres in metres.
    colours: of any range.
    opacities: in [0, 1].
    scales: standard deviations along the turned axes, in metres.
    quaternions: (x, y, z, w) of the axes.
  """

  points: Float[Array, "P 3"]
  colours: Float[Array, "P 3"]
  opacities: Float[Array, "P"]
  scales: Float[Array, "P 3"]
  quaternions: Float[Array, "P 4"]


def of_picture(
  points: Float[Array, "h w 3"],
  colours: Float[Array, "h w 3"],
  intrinsics: Float[Array, "4"],
  size: float = 0.5,
) -> Splats:
  """A spot for each pixel, as large as the pixel is at its depth.

  Args:
    points: metres, in the camera's frame.
    colours: of any range.
    intrinsics: (fx, fy, cx, cy) in pixels.
    size: standard deviation in pixels.
  """
  count = points[..., 0].size
  step = points[..., 2] / jnp.sqrt(intrinsics[0] * intrinsics[1])
  scales = jnp.repeat(size * step.reshape(-1, 1), 3, axis=1)
  quaternions = jnp.tile(jnp.asarray([0.0, 0.0, 0.0, 1.0]), (count, 1))
  return Splats(
    points.reshape(-1, 3),
    colours.reshape(-1, 3),
    jnp.ones(count),
    scales,
    quaternions,
  )


@functools.partial(jax.jit, static_argnames=("height", "width", "options"))
def splat(
  splats: Splats,
  world_from_camera: Float[Array, "4 4"],
  intrinsics: Float[Array, "4"],
  height: int,
  width: int,
  options: SplatOptions = DEFAULT,
) -> tuple[Float[Array, "H W 3"], Float[Array, "H W"], Float[Array, "H W"]]:
  """Renders Gaussians from one camera.

  Args:
    splats: in the world.
    world_from_camera: pose of the camera.
    intrinsics: (fx, fy, cx, cy) in pixels of the rendered image.
    height: H of the rendered image.
    width: W of the rendered image.
    options: how spots are drawn.

  Returns:
    Colour over a background of 0; mean depth of what is seen, 0 where
    nothing is; and the share of light that is held back, which is the
    coverage.
  """
  usable = jnp.isfinite(splats.points).all(-1)
  # Replaced here, for a gradient of 0 times NaN would be NaN.
  points = jnp.where(usable[:, None], splats.points, 0.0)
  splats = splats.replace(points=points)
  centre, depth, variance = _project(
    splats, world_from_camera, intrinsics, (height, width), options
  )
  shrunk = 1.0
  if options.antialias:
    own = variance.at[:, 0].add(-options.low_pass)
    own = own.at[:, 2].add(-options.low_pass)
    shrunk = jnp.maximum(_determinant(own), 1e-12) / _determinant(variance)
    shrunk = jnp.sqrt(shrunk)
  drawn = usable & (depth > options.near)
  order = jnp.argsort(jnp.where(drawn, depth, jnp.inf))
  values = centre, depth, variance, splats.opacities * shrunk, splats.colours
  centre, depth, variance, opacity, colour = (v[order] for v in values)
  drawn = drawn[order]
  steps = _window(options.radius)
  middle = jnp.floor(jnp.where(drawn[:, None], centre, -1e6))
  middle = jnp.clip(middle, -1e6, 1e6).astype(jnp.int32)
  cell = middle[:, None] + steps  # [P K 2]
  inside = (cell >= 0) & (cell < jnp.asarray([width, height]))
  away = cell + 0.5 - jnp.where(drawn[:, None], centre, 0)[:, None]
  alpha = opacity[:, None] * _bell(away, variance)
  alpha = jnp.minimum(alpha, options.most_alpha)
  kept = inside.all(-1) & drawn[:, None] & (alpha >= options.least_alpha)
  alpha = jnp.where(kept, alpha, 0.0)
  pixel = jnp.where(kept, cell[..., 1] * width + cell[..., 0], height * width)
  point = jnp.broadcast_to(jnp.arange(len(depth))[:, None], pixel.shape)
  pixel, place = jax.lax.sort_key_val(
    pixel.ravel(), jnp.arange(pixel.size), is_stable=True
  )
  point, alpha = point.ravel()[place], alpha.ravel()[place]
  weight = alpha * _light(pixel, alpha)
  shown = jnp.concatenate(
    [colour, depth[:, None], jnp.ones_like(depth[:, None])], 1
  )
  shown = jnp.where(drawn[:, None], shown, 0)[point] * weight[:, None]
  picture = (
    jnp.zeros((height * width, 5))
    .at[pixel]
    .add(shown, mode="drop", indices_are_sorted=True)
  )
  picture = picture.reshape(height, width, 5)
  held = picture[..., 4]
  return picture[..., :3], picture[..., 3] / jnp.maximum(held, 1e-6), held


def _project(
  splats: Splats,
  pose: Float[Array, "4 4"],
  intrinsics: Float[Array, "4"],
  size: tuple[int, int],
  options: SplatOptions,
) -> tuple[Float[Array, "P 2"], Float[Array, "P"], Float[Array, "P 3"]]:
  """Centres in pixels, depths, and variances (xx, xy, yy) on the screen."""
  camera_from_world = cameras.invert_pose(pose)
  seen = cameras.transform(splats.points, camera_from_world)
  fx, fy, cx, cy = intrinsics
  x, y, z = seen[:, 0], seen[:, 1], seen[:, 2]
  z_safe = jnp.where(z > options.near, z, 1.0)
  centre = jnp.stack([fx * x / z_safe + cx, fy * y / z_safe + cy], axis=-1)
  bound_x, bound_y = (
    _FRUSTUM * n / 2 / f for n, f in ((size[1], fx), (size[0], fy))
  )
  zero = jnp.zeros_like(z)
  across = jnp.clip(x / z_safe, -bound_x, bound_x)
  down = jnp.clip(y / z_safe, -bound_y, bound_y)
  rows = [
    [fx / z_safe, zero, -fx * across / z_safe],
    [zero, fy / z_safe, -fy * down / z_safe],
  ]
  jacobian = jnp.stack([jnp.stack(row, axis=-1) for row in rows], axis=-2)
  turned = jnp.einsum(
    "pij,jk->pik", jacobian, camera_from_world[:3, :3], precision="highest"
  )
  world = gaussians.covariance(splats.scales, splats.quaternions)
  screen = jnp.einsum(
    "pij,pjk,plk->pil", turned, world, turned, precision="highest"
  )
  variance = jnp.stack(
    [
      screen[:, 0, 0] + options.low_pass,
      screen[:, 0, 1],
      screen[:, 1, 1] + options.low_pass,
    ],
    axis=-1,
  )
  return centre, z, variance


def _determinant(variance: Float[Array, "P 3"]) -> Float[Array, "P"]:
  return variance[:, 0] * variance[:, 2] - variance[:, 1] ** 2


def _bell(
  away: Float[Array, "P K 2"], variance: Float[Array, "P 3"]
) -> Float[Array, "P K"]:
  """Height of each Gaussian at some distance from its centre."""
  xx, xy, yy = (variance[:, i, None] for i in range(3))
  dx, dy = away[..., 0], away[..., 1]
  square = yy * dx * dx - 2 * xy * dx * dy + xx * dy * dy
  return jnp.exp(-0.5 * square / _determinant(variance)[:, None])


def _window(radius: int) -> Int[Array, "K 2"]:
  """Steps (x, y) to the pixels of a window."""
  steps = jnp.arange(-radius, radius + 1)
  x, y = jnp.meshgrid(steps, steps)
  return jnp.stack([x.ravel(), y.ravel()], axis=-1)


def _light(
  pixel: Int[Array, "N"], alpha: Float[Array, "N"]
) -> Float[Array, "N"]:
  """Share of light that passes what lies in front, along a sorted list.

  0 where hardly any would pass behind the entry, which is then left out.
  """
  first = jnp.concatenate([jnp.ones(1, bool), pixel[1:] != pixel[:-1]])

  def combine(left, right):
    left_first, left_light = left
    right_first, right_light = right
    light = jnp.where(right_first, right_light, left_light * right_light)
    return left_first | right_first, light

  _, after = jax.lax.associative_scan(combine, (first, 1 - alpha))
  before = jnp.concatenate([jnp.ones(1), after[:-1]])
  before = jnp.where(first, 1.0, before)
  return jnp.where(after >= _LEAST_LIGHT, before, 0.0)
