"""The chain at size nano with random weights."""

import contextlib
import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

import more4d_jax
from more4d_jax import checkpoint_networks, errors, pipeline
from more4d_jax.checkpoints import store
from more4d_jax.evaluation import scene_checks
from more4d_jax.kernels.attention import dispatch
from more4d_jax.sampling import original_conditions, stages


@pytest.fixture(scope="module")
def loaded_pipeline(nano_checkpoint):
  return more4d_jax.load(nano_checkpoint)


@pytest.fixture(scope="module")
def picture():
  return np.random.default_rng(0).integers(0, 256, (70, 90, 3), np.uint8)


@pytest.mark.slow
def test_a_scene_of_a_picture(loaded_pipeline, picture, tmp_path):
  scene = loaded_pipeline(
    picture, "a ball rolls to the left", seed=3, size="model"
  )
  assert isinstance(scene, more4d_jax.Scene)
  assert scene.tracks.shape == (5, 32, 48, 3)
  checks = scene_checks.scene_checks(scene.tracks, scene.intrinsics)
  assert checks["finite"] and checks["reprojection_error"] < 1e-3
  assert scene.visible[0].all()
  scene.save(tmp_path / "scene.npz")
  found = more4d_jax.Scene.load(tmp_path / "scene.npz")
  np.testing.assert_array_equal(found.tracks, scene.tracks)
  assert found.metadata["depth"] == "estimated"
  completed = loaded_pipeline.complete(scene, "x_moving")
  assert completed.shape == (5, 32, 48, 3) and completed.dtype == np.uint8


@pytest.mark.slow
def test_a_scene_of_another_size_and_rate(loaded_pipeline, picture):
  depth = np.full((70, 90), 2.0, np.float32)
  depth[:, :40] = 1.0
  made = functools.partial(loaded_pipeline, picture, "left", depth)
  small = made(size="model")
  scene = made(fps=2 * small.fps)  # Of the picture's size, 60 x 90 of it.
  assert scene.tracks.shape == (9, 60, 90, 3) and scene.fps == 2 * small.fps
  assert scene.visible.shape == (9, 60, 90) and scene.visible[0].all()
  np.testing.assert_array_equal(scene.colours, picture[5:65])
  np.testing.assert_array_equal(scene.tracks[0, ..., 2], depth[5:65])
  checks = scene_checks.scene_checks(scene.tracks, scene.intrinsics)
  assert checks["finite"] and checks["reprojection_error"] < 1e-3
  assert scene.metadata["model_grid"] == {
    "frames": 5, "size": [32, 48], "fps": small.fps,
  }  # fmt: skip
  tripled = made(size=(96, 144))  # Centres of coarse pixels are centres.
  # Depth is the nearest sample in both grids, thus the same at those.
  np.testing.assert_allclose(
    tripled.tracks[:, 1::3, 1::3], small.tracks, atol=2e-4
  )
  video = loaded_pipeline.complete(scene, "x_moving")
  assert video.shape == (9, 60, 90, 3)
  rendered, covered = scene.render("x_moving")
  # A seam of a few pixels passes from the rendering to what fills a hole.
  near = np.ones((1, 9, 9), bool)
  sure = ndimage.binary_erosion(covered, near, border_value=1)
  assert sure.any()
  np.testing.assert_array_equal(video[sure], rendered[sure])
  assert (video[~covered] != 0).any()


@pytest.mark.slow
def test_seed_prompt_and_given_depth_matter(loaded_pipeline, picture):
  depth = np.full((70, 90), 2.0, np.float32)

  def tracks(prompt, seed):
    return loaded_pipeline(picture, prompt, depth, seed).tracks

  one = tracks("left", 0)
  np.testing.assert_array_equal(one[0, ..., 2], 2.0)
  np.testing.assert_array_equal(one, tracks("left", 0))
  assert np.abs(one - tracks("left", 1)).max() > 1e-3
  assert np.abs(one - tracks("right", 0)).max() > 1e-6


@pytest.mark.slow
def test_the_originals_conditions_by_name(nano_checkpoint, picture):
  loaded_pipeline = more4d_jax.load(
    nano_checkpoint, {"num_steps": 1}, conditions="original"
  )
  assert loaded_pipeline.networks.choices("vism").image_context == "zeros"
  depth = np.full((70, 90), 2.0, np.float32)
  scene = loaded_pipeline(picture, "left", depth, size="model")
  expected = original_conditions.camera((32, 48))
  np.testing.assert_array_equal(scene.intrinsics, expected)
  assert scene.metadata["conditions"]["reference"] == "zeros"
  # The first pixel lies on the picture's border: x / z = -0.5 / ax.
  ax = expected[0] / 47
  np.testing.assert_allclose(scene.tracks[0, 0, 0, 0] / 2, -0.5 / ax, rtol=1e-5)
  # Depth that is not known is shown otherwise; points start at the median.
  holes = depth.copy()
  holes[20:30, 40:60] = np.nan
  other = loaded_pipeline(picture, "left", holes, size="model")
  np.testing.assert_array_equal(other.tracks[0], scene.tracks[0])
  assert np.abs(other.tracks - scene.tracks).max() > 1e-6
  large = loaded_pipeline(picture, "left", depth, size=(64, 96))
  np.testing.assert_allclose(large.intrinsics, 2 * expected)
  with pytest.raises(ValueError, match="one of trained, original"):
    more4d_jax.load(nano_checkpoint, conditions="published")


@pytest.mark.slow
def test_depth_may_come_from_a_network_or_a_function(loaded_pipeline, picture):
  found = loaded_pipeline.depth_map(picture)
  assert found.depth.shape == (70, 90) and found.valid.all()

  def estimate(pixels):
    np.testing.assert_array_equal(pixels, picture)
    return loaded_pipeline.depth_map(pixels)

  for depth in (estimate, found, found.depth):
    prepared = loaded_pipeline.prepare(picture, depth)
    np.testing.assert_array_equal(
      prepared.depth, loaded_pipeline.prepare(picture, estimate).depth
    )
  with pytest.raises(errors.UserError, match="lambda"):
    loaded_pipeline.prepare(picture, lambda pixels: pixels)


def test_relative_depth_is_no_depth_in_metres(nano_checkpoint):
  stored = store.open_bundle(nano_checkpoint)
  network = stored["depth"]
  config = dataclasses.replace(network.config, output="relu")
  stored["depth"] = dataclasses.replace(network, config=config)
  with pytest.raises(errors.UserError, match="relative depth"):
    pipeline.Pipeline(stored).depth_map(np.zeros((32, 48, 3), np.uint8))


def test_overrides_and_missing_networks(nano_checkpoint):
  stored = store.open_bundle(nano_checkpoint)
  changes = {"num_steps": 7}
  found = checkpoint_networks.CheckpointNetworks(stored, overrides=changes)
  assert found.sampler("strag").num_steps == 7
  assert found.sampler("strag").guidance_scale == 3.0
  assert found.sampler("vism").teacache_fit == "plain"
  assert found.choices("strag").image_context == "picture"
  wrong = checkpoint_networks.CheckpointNetworks(
    stored, overrides={"sampler": "heun"}
  )
  with pytest.raises(errors.UserError, match="sampling of vism: expected a sa"):
    wrong.sampler("vism")
  del stored["vism"]
  with pytest.raises(errors.UserError, match="expected a vism"):
    checkpoint_networks.CheckpointNetworks(stored).bound("vism")


def test_not_a_checkpoint(tmp_path):
  with pytest.raises(errors.UserError, match="bundle"):
    more4d_jax.load(tmp_path / "nothing")


def test_kernels_are_told_the_device():
  kinds = []

  @jax.jit
  def program(x):
    kinds.append(dispatch.device_kind())  # While it is traced.
    return 2 * x

  assert stages.Stages(contextlib.nullcontext).call(program, jnp.ones(())) == 2
  assert kinds == [jax.local_devices()[0].device_kind]
