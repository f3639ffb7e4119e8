"""Networks and a training state that an earlier version wrote still load.

`tests/golden/earlier_networks.tar.xz` holds a bundle of every network at size
nano with random weights of three values, and a workdir of `configs/depth.py`
whose checkpoint stands at step 2; the numbers beside it are what that version
computed with them.
"""

import importlib
import json
import pathlib
import tarfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data_pipelines.trajscene import generation, make
from more4d_jax import checkpoint_networks
from more4d_jax.checkpoints import store
from more4d_jax.experiment import config_reader, run
from more4d_jax.models import variants

_GOLDEN = pathlib.Path(__file__).parents[1] / "golden"
_NUMBERS = json.loads((_GOLDEN / "earlier_networks.json").read_text())


@pytest.fixture(name="place", scope="module")
def _place(tmp_path_factory):
  place = tmp_path_factory.mktemp("earlier")
  with tarfile.open(_GOLDEN / "earlier_networks.tar.xz") as archive:
    archive.extractall(place, filter="data")
  return place


def _outputs(kind, networks):
  """Every 97th number of what a network makes of waves."""
  variant = variants.get("nano")

  def wave(*shape):
    values = np.sin(np.arange(np.prod(shape)) * 0.37).reshape(shape)
    return jnp.asarray(values, jnp.float32)

  clip = (1, variant.frames, variant.height, variant.width, 3)
  picture = wave(1, *clip[2:]) / 2 + 0.5
  model = networks.bound(kind)
  if kind == "depth":
    arguments, method = (picture,), "__call__"
  elif kind in ("video_vae", "motion_vae"):
    arguments, method = (wave(*clip),), "__call__"
  else:
    latents = wave(1, *variant.latent_grid, 16)
    tokens = networks.tokens(kind, ["a ball rolls"])
    arguments, method = (latents, tokens, picture), "initialise"
  found = jax.jit(lambda *x: model(*x, method=method))(*arguments)
  return np.asarray(found).ravel()[::97]


@pytest.mark.slow  # Five networks are compiled.
@pytest.mark.parametrize("kind", list(_NUMBERS["outputs"]))
def test_networks_of_an_earlier_version_compute_what_they_did(place, kind):
  found = _outputs(
    kind,
    checkpoint_networks.CheckpointNetworks(store.open_bundle(place / "bundle")),
  )
  # The same float32 program; other processors sum in another order.
  np.testing.assert_allclose(
    found[:16], _NUMBERS["outputs"][kind], rtol=1e-3, atol=1e-4
  )


def test_settings_of_an_earlier_version_are_read(place):
  networks = checkpoint_networks.CheckpointNetworks(
    store.open_bundle(place / "bundle")
  )
  sampler = networks.sampler("strag")
  assert (sampler.num_steps, sampler.guidance_scale) == (2, 3.0)
  assert networks.size("strag") == (5, 32, 48)
  assert networks.normalisation.mode == "depth"


@pytest.mark.slow  # It compiles a train step.
def test_training_goes_on_where_an_earlier_version_stopped(place, monkeypatch):
  monkeypatch.chdir(place)
  make.make_records(
    make.MakeOptions(
      "records",
      generation.SceneOptions(3, frames=5, height=32, width=48, light=True),
      processes=1,
      progress=False,
    )
  )
  config = importlib.import_module("configs.depth").get_config("size=nano")
  config.batch_size, config.num_steps = 8, 3
  config.evaluation.videos = 0
  config.data.records, config.data.num_held_out = "records", 1
  config.lock()
  run.run("train", config_reader.read(config), "run")
  lines = pathlib.Path("run/metrics.jsonl").read_text().splitlines()
  (metrics,) = map(json.loads, lines)
  for name, value in _NUMBERS["metrics"].items():
    assert metrics[name] == pytest.approx(value, rel=1e-3), name
  assert store.load_header("run/model")["metadata"]["steps"] == 3
