"""Depth that STraG is shown: exact, with errors, or a network's own."""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import pytest

from data_pipelines.procedural import records as procedural
from more4d_jax.conditions import latents
from more4d_jax.data import estimation_noise, loader, transforms
from more4d_jax.geometry import depth as depth_geometry
from more4d_jax.geometry import motion
from more4d_jax.models.encoders import tokenizer
from more4d_jax.sampling import networks

_SIZE = (5, 32, 48)


class _Network(nn.Module):
  """Bright things are far."""

  def __call__(self, images):
    return 1 + jnp.mean(images, axis=-1)


@pytest.fixture(scope="module", name="records")
def _records():
  options = procedural.RecordOptions(*_SIZE, light=True)
  record = procedural.make_record(3, options)
  return 40 * [record]


def _examples(records, **shares):
  example = latents.SceneExample(
    transforms.ExampleOptions(*_SIZE),
    tokenizer.ByteTokenizer(32),
    latents.DepthShares(**shares),
  )
  return [
    example.random_map(record, np.random.default_rng(number))
    for number, record in enumerate(records)
  ]


def test_shares_are_those_of_the_scenes(records):
  found = _examples(records, noisy=0.5, network=0.25)
  true = records[0].depth[0]
  exact = np.array([np.array_equal(e["depth"], true) for e in found])
  estimated = np.array([bool(e["estimated"]) for e in found])
  assert exact[estimated].all()  # A network will replace it.
  # Three standard deviations of forty draws.
  assert abs((~exact).mean() - 0.5) < 0.24
  assert abs(estimated.mean() - 0.25) < 0.21
  for one, other in zip(found, _examples(records, noisy=0.0), strict=True):
    np.testing.assert_array_equal(one["tracks"], other["tracks"])
    np.testing.assert_array_equal(other["depth"], true)


def test_noise_is_that_of_the_model(records):
  found = _examples(records, noisy=1.0)
  estimated = np.stack([e["depth"] for e in found])
  true = np.repeat(records[0].depth[:1], len(found), axis=0)
  fitted = estimation_noise.fit_depth(estimated, true)
  assert fitted.bend == pytest.approx(latents.NOISE.bend, rel=0.5)


def test_latents_show_what_the_network_says(records, monkeypatch):
  """With stand-ins for the networks, of which only depth is looked at."""
  shown = []

  def stills(video_vae, pictures, frames):
    del video_vae, frames
    shown.append(pictures[1])
    return [jnp.zeros((len(p), 1, 4, 6, 16)) for p in pictures]

  monkeypatch.setattr(networks, "encode_stills", stills)
  monkeypatch.setattr(networks, "posterior", lambda _, video: (video, video))
  batch = loader.stack(_examples(records[:8], noisy=0.0, network=0.5))
  batch = {name: jnp.asarray(value) for name, value in batch.items()}
  assert 0 < batch["estimated"].sum() < 8

  nets = networks.BoundModule({}, _Network())
  latents.encode_scenes(nets, nets, motion.MotionNormalisation(), batch, nets)
  said = 1 + batch["image"].mean(-1) / 255
  mixed = np.where(batch["estimated"][:, None, None], said, batch["depth"])
  wanted = depth_geometry.depth_image(jnp.asarray(mixed, jnp.float32))
  np.testing.assert_allclose(shown[0], wanted, atol=1e-4)


@pytest.mark.parametrize(
  "wrong", [{"noisy": -0.1}, {"noisy": 0.7, "network": 0.5}]
)
def test_wrong_shares(wrong):
  with pytest.raises(ValueError, match="expected shares from 0 to 1"):
    latents.DepthShares(**wrong)
