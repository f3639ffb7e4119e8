"""The original's conditions by name: each against its definition."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from more4d_jax.geometry import cameras, cameras_compat
from more4d_jax.sampling import original_conditions, sample_strag, sample_vism
from tests.parity.original import cameras as original_cameras


def test_colours_are_cut_and_not_rounded():
  picture = np.linspace(-0.1, 1.1, 4 * 6 * 3, dtype=np.float32)
  picture = picture.reshape(1, 4, 6, 3)
  cut = np.floor(np.clip(picture, 0, 1) * 255) / 255
  found = original_conditions.truncated(jnp.asarray(picture))
  np.testing.assert_allclose(found, cut, rtol=1e-6)


def test_colours_pass_through_bfloat16():
  """Each level against PyTorch's arithmetic, in the original's order."""
  torch = pytest.importorskip("torch")
  levels = np.arange(256, dtype=np.uint8)
  picture = torch.from_numpy(levels).float() / 255 * 2 - 1
  middle = ((picture.to(torch.bfloat16) + 1) / 2).float().numpy()
  expected = (middle * 255).astype(np.uint8)
  assert (levels - expected).max() == 1 and (levels != expected).sum() == 95
  given = jnp.asarray(levels, jnp.float32)[None, None, :, None] / 255
  for run in (
    original_conditions.colours,
    jax.jit(original_conditions.colours),
  ):
    found = np.asarray(run(jnp.repeat(given, 3, axis=-1)))[0, 0, :, 0] * 255
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("size", [(32, 48), (368, 512)])
def test_the_camera_gives_the_originals_points(size):
  depth = np.random.default_rng(0).uniform(1, 5, (1, *size)).astype(np.float32)
  alpha = cameras_compat.aspect_alpha(cameras_compat.INFERENCE_SOURCE, size)
  expected = original_cameras.unproject(jnp.asarray(depth), size, alpha)
  intrinsics = jnp.asarray(original_conditions.camera(size)[None])
  found = cameras.unproject(jnp.asarray(depth), intrinsics)
  # Up to the rounding of float32 at coordinates of a few metres.
  np.testing.assert_allclose(found, expected, atol=4e-6)


def test_the_preset_names_choices_that_exist():
  preset = original_conditions.PRESET
  strag = sample_strag.STraGChoices(**preset["strag"])
  assert strag.camera == "original" and strag.reference == "zeros"
  assert sample_vism.ViSMChoices(**preset["vism"]).image_context == "zeros"
  with pytest.raises(ValueError, match="colours to be one of exact, truncated"):
    sample_strag.STraGChoices(colours="rounded")
