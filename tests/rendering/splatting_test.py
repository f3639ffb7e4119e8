import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.spatial.transform

from more4d_jax.geometry import camera_paths, cameras
from more4d_jax.rendering import splatting

_SIZE = (9, 12)
_FIELDS = ("points", "colours", "opacities", "scales", "quaternions")


def _scene(count=24, seed=0):
  """Gaussians in front of a turned camera, all fields of float64."""
  rng = np.random.default_rng(seed)
  turn = scipy.spatial.transform.Rotation.from_rotvec([0.1, -0.2, 0.15])
  pose = np.eye(4)
  pose[:3, :3], pose[:3, 3] = turn.as_matrix(), [0.1, -0.05, 0.02]
  return {
    "points": rng.uniform([-1, -0.7, 1.5], [1, 0.7, 4], (count, 3)),
    "colours": rng.uniform(size=(count, 3)),
    "opacities": rng.uniform(0.3, 0.9, count),
    "scales": rng.uniform(0.1, 0.25, (count, 3)),
    "quaternions": rng.normal(size=(count, 4)),
    "pose": pose,
    "intrinsics": np.asarray([10.0, 9.0, 6.3, 4.4]),
  }


def _reference(scene, options):
  """One Gaussian and one pixel at a time, from front to back."""
  height, width = _SIZE
  inverse = np.linalg.inv(scene["pose"])
  fx, fy, cx, cy = scene["intrinsics"]
  found = np.zeros((*_SIZE, 5))
  light = np.ones(_SIZE)
  ended = np.zeros(_SIZE, bool)
  seen = scene["points"] @ inverse[:3, :3].T + inverse[:3, 3]
  for i in np.argsort(seen[:, 2]):
    x, y, z = seen[i]
    if z <= options.near:
      continue
    turn = scipy.spatial.transform.Rotation.from_quat(scene["quaternions"][i])
    axes = turn.as_matrix() * scene["scales"][i]
    bound = 1.3 * width / 2 / fx, 1.3 * height / 2 / fy
    a, b = (
      np.clip(x / z, -bound[0], bound[0]),
      np.clip(y / z, -bound[1], bound[1]),
    )
    jacobian = np.asarray([[fx / z, 0, -fx * a / z], [0, fy / z, -fy * b / z]])
    half = jacobian @ inverse[:3, :3] @ axes
    own = half @ half.T
    screen = own + options.low_pass * np.eye(2)
    opacity = scene["opacities"][i]
    if options.antialias:
      opacity *= np.sqrt(np.linalg.det(own) / np.linalg.det(screen))
    px, py = fx * x / z + cx, fy * y / z + cy
    for row in range(height):
      for column in range(width):
        if (
          max(abs(row - np.floor(py)), abs(column - np.floor(px)))
          > options.radius
          or ended[row, column]
        ):
          continue
        d = np.asarray([column + 0.5 - px, row + 0.5 - py])
        alpha = opacity * np.exp(-0.5 * d @ np.linalg.solve(screen, d))
        alpha = min(alpha, options.most_alpha)
        if alpha < options.least_alpha:
          continue
        if light[row, column] * (1 - alpha) < 1e-4:
          ended[row, column] = True
          continue
        share = alpha * light[row, column]
        found[row, column] += share * np.asarray([*scene["colours"][i], z, 1])
        light[row, column] *= 1 - alpha
  return found


def _splat(scene, options):
  splats = splatting.Splats(**{name: scene[name] for name in _FIELDS})
  return splatting.splat(
    splats, scene["pose"], scene["intrinsics"], *_SIZE, options
  )


def _single(scene):
  return {name: jnp.asarray(v, jnp.float32) for name, v in scene.items()}


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(
  "options", [splatting.DEFAULT, splatting.PUBLISHED], ids=["ours", "published"]
)
def test_matches_a_loop_over_gaussians_and_pixels(seed, options):
  scene = _scene(seed=seed)
  expected = _reference(scene, options)
  colour, depth, coverage = _splat(_single(scene), options)
  assert 0.1 < expected[..., 4].mean() < 1
  # Float32 rounding of sums of products.
  np.testing.assert_allclose(colour, expected[..., :3], atol=2e-5)
  np.testing.assert_allclose(coverage, expected[..., 4], atol=2e-5)
  np.testing.assert_allclose(depth * coverage, expected[..., 3], atol=1e-4)


def test_gradients_are_the_finite_differences_of_the_loop():
  scene = _scene(count=8, seed=3)
  # A cut at no opacity, so that the picture has no jumps.
  options = splatting.SplatOptions(low_pass=0.3, radius=12, least_alpha=0.0)
  weights = np.random.default_rng(1).normal(size=(*_SIZE, 5))

  def loss(scene):
    colour, depth, coverage = _splat(scene, options)
    stacked = jnp.concatenate(
      [colour, (depth * coverage)[..., None], coverage[..., None]], -1
    )
    return jnp.sum(stacked * weights)

  found = jax.jit(jax.grad(loss))(_single(scene))
  rng = np.random.default_rng(2)
  for name, value in scene.items():
    direction = rng.normal(size=value.shape)
    if name == "pose":  # A rigid motion: a shift.
      direction = np.zeros((4, 4))
      direction[:3, 3] = rng.normal(size=3)
    sides = [
      np.sum(
        _reference({**scene, name: value + sign * 1e-5 * direction}, options)
        * weights
      )
      for sign in (1, -1)
    ]
    expected = (sides[0] - sides[1]) / 2e-5
    got = float(np.sum(np.asarray(found[name], np.float64) * direction))
    assert abs(expected) > 1e-3
    # Rounding of float32 against float64.
    assert got == pytest.approx(expected, rel=5e-3, abs=5e-3), name


def test_gradient_of_a_turned_pose():
  scene = _scene(count=8, seed=4)
  options = splatting.SplatOptions(low_pass=0.3, radius=12, least_alpha=0.0)
  weights = np.random.default_rng(1).normal(size=(*_SIZE, 3))
  # Derivative of a turn about the camera's x axis.
  turn = scene["pose"] @ np.asarray(
    [[0, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0], [0, 0, 0, 0]], np.float64
  )

  def loss(pose):
    colour, _, _ = _splat({**_single(scene), "pose": pose}, options)
    return jnp.sum(colour * weights)

  gradient = np.asarray(jax.grad(loss)(jnp.asarray(scene["pose"], jnp.float32)))
  values = []
  for sign in (1, -1):
    angle = sign * 1e-5
    step = np.eye(4)
    step[1:3, 1:3] = [
      [np.cos(angle), -np.sin(angle)],
      [np.sin(angle), np.cos(angle)],
    ]
    turned = {**scene, "pose": scene["pose"] @ step}
    values.append(np.sum(_reference(turned, options)[..., :3] * weights))
  expected = (values[0] - values[1]) / 2e-5
  assert abs(expected) > 1e-3
  assert np.sum(gradient * turn) == pytest.approx(expected, rel=5e-3, abs=5e-3)


def test_points_behind_and_without_a_place_have_no_part_nor_gradient():
  scene = _single(_scene(count=6))
  scene["points"] = scene["points"].at[0, 2].set(-3.0).at[1].set(jnp.nan)
  loss = lambda points: sum(  # noqa: E731
    jnp.sum(v) for v in _splat({**scene, "points": points}, splatting.DEFAULT)
  )
  value, gradient = jax.value_and_grad(loss)(scene["points"])
  assert np.isfinite(value)
  np.testing.assert_array_equal(gradient[0], 0)
  assert np.isfinite(gradient[2:]).all() and np.abs(gradient[2:]).max() > 0


def test_the_first_camera_sees_nearly_the_picture():
  size = (16, 24)
  y, x = np.mgrid[: size[0], : size[1]] / 8
  picture = np.stack([np.sin(x), np.cos(y), np.sin(x + y)], -1) * 0.4 + 0.5
  intrinsics = cameras.default_intrinsics(*size)
  points = cameras.unproject(jnp.full((1, *size), 3.0), intrinsics[None])[0]
  splats = splatting.of_picture(
    points, jnp.asarray(picture, jnp.float32), intrinsics
  )
  poses = camera_paths.named_path("static", 1, np.asarray([0, 0, 3.0]))
  render = functools.partial(splatting.splat, height=size[0], width=size[1])
  colour, depth, coverage = render(splats, jnp.asarray(poses[0]), intrinsics)
  inner = np.s_[2:-2, 2:-2]
  assert coverage[inner].min() > 0.85
  np.testing.assert_allclose(depth[inner], 3.0, atol=1e-3)
  seen = np.asarray(colour / np.maximum(coverage, 1e-6)[..., None])
  assert np.abs(seen - picture)[inner].max() < 0.05
