"""Imported records train the nano motion VAE like made ones."""

import dataclasses
import json

import numpy as np
import pytest

from configs import motion_vae
from data_pipelines.importers import run
from more4d_jax.checkpoints import store
from more4d_jax.experiment import building, config_reader
from more4d_jax.experiment import run as training_run
from more4d_jax.models import variants
from more4d_jax.training import loop
from tests import nano_bundle
from tests.data_pipelines.importers import layouts, trajscene_test, worlds

_STEPS = 2


def _imported(kind, folder, out):
  options = run.ImportOptions(
    kind, (str(folder),), str(out), processes=1, progress=False
  )
  assert run.import_records(options).taken == 2
  return str(out)


@pytest.mark.slow
def test_archives_and_plain_files_train_the_motion_vae(tmp_path):
  content = {}
  for name in ("000001", "000002"):
    arrays = trajscene_test.scene_arrays(seed=int(name))
    content |= trajscene_test.members(name, arrays)
  trajscene_test.archive(tmp_path / "archives" / "a.tar.gz", content)
  for name in ("x", "y"):
    (tmp_path / "plain" / name).mkdir(parents=True)
    layouts.plain(
      tmp_path / "plain" / name,
      worlds.make(dense=True),
      grid=(worlds.HEIGHT, worlds.WIDTH),
    )
  directories = [
    _imported("trajscene", tmp_path / "archives", tmp_path / "one"),
    _imported("npz", tmp_path / "plain", tmp_path / "two"),
  ]
  variant = variants.get("nano")
  store.save_network(
    tmp_path / "video_vae" / "model",
    nano_bundle.params_of(variant, "video_vae"),
    variant.video_vae,
    {**nano_bundle.metadata_of(variant, "video_vae"), "identity": "0123"},
  )
  config = motion_vae.get_config("size=nano")
  config.num_steps = _STEPS
  config.batch_size = 8  # The tests have eight devices.
  config.evaluation.every = 0
  config.evaluation.videos = 0
  config.data.records = ",".join(directories)
  config.init_from.video_vae = str(tmp_path / "video_vae")
  config.lock()
  task = training_run.make_task(config_reader.read(config))
  training = building.training(task, task.open(tmp_path / "run"))
  training = dataclasses.replace(training, evaluators=())
  loop.train(training, tmp_path / "run")
  lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
  losses = [json.loads(line)["loss"] for line in lines]
  assert len(losses) == _STEPS
  assert np.isfinite(losses).all()
