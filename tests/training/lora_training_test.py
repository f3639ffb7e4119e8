"""A LoRA: what is trained, what it computes, what a run leaves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from configs import strag, vism
from data_pipelines.trajscene import generation, make
from more4d_jax import partitioning
from more4d_jax.checkpoints import store
from more4d_jax.experiment import config_reader, run
from more4d_jax.lora import dialects
from more4d_jax.models import lora, lora_merging, variants
from more4d_jax.training import paths
from more4d_jax.training import step as steps
from tests import nano_bundle
from tests.training import nano_batches

_RANK, _ALPHA = 3, 1.5
_HEAD_DIM = variants.get("nano").vism.dit.layer.head_dim
_CONFIGS = {"strag": strag, "vism": vism}
_MADE = {
  "strag": (nano_batches.strag_objective, nano_batches.strag_batch),
  "vism": (nano_batches.vism_objective, nano_batches.vism_batch),
}


def _task(rank=_RANK, kind="vism"):
  config = _CONFIGS[kind].get_config("size=nano")
  config.model.lora_rank, config.model.lora_alpha = rank, _ALPHA
  config.init_from[kind] = "somewhere" if rank else ""
  return run.make_task(config_reader.read(config))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["strag", "vism"])
def test_only_the_lora_is_trained_and_it_acts_as_if_merged(tmp_path, kind):
  task, (make_objective, make_batch) = _task(kind=kind), _MADE[kind]
  objective = make_objective(lora=task.config.model.lora)
  params = nano_batches.random_params(objective)
  trained, frozen = paths.split(params, task.trainable)
  assert set(trained) == {"lora"}
  assert set(frozen) == set(params) - {"lora"}
  batch = jax.tree.map(jnp.asarray, make_batch(2))
  keys = steps.Keys(0, 0)

  @jax.jit
  def loss(tree):
    return objective.loss(paths.merge(tree, frozen), batch, keys)[0]

  value, grads = jax.value_and_grad(loss)(trained)
  flat = traverse_util.flatten_dict(grads, sep="/")
  assert len(flat) == 2 * len(lora.linear_maps(params["dit"]))
  # The text's and the image's paths end in both kinds of attention.
  assert all(np.abs(g).max() > 0 for g in flat.values())

  plain = make_objective()
  with jax.set_mesh(partitioning.one_device()):
    merged = task.assembled(jax.device_get(params))
  assert "lora" not in merged
  again = jax.jit(lambda p: plain.loss(p, batch, keys)[0])(merged)
  # Two orders of the same float32 sums.
  assert float(again) == pytest.approx(float(value), rel=1e-4)
  without = jax.jit(lambda p: plain.loss(p, batch, keys)[0])(frozen)
  assert abs(float(without) - float(value)) > 1e-2 * float(value)

  task.write_beside(jax.device_get(params), tmp_path)
  found = dialects.load(tmp_path / "lora.safetensors")
  assert found.style == "original"
  weighted = [lora.Weighted(found.lora)]
  ours = lora_merging.merge(jax.device_get(frozen["dit"]), weighted, _HEAD_DIM)
  jax.tree.map(np.testing.assert_array_equal, ours, merged["dit"])
  assert {pair.scale for pair in found.lora.modules.values()} == {
    _ALPHA / _RANK
  }


def test_without_a_rank_the_network_itself_is_trained():
  task = _task(0)
  assert task.config.model.lora is None
  assert "dit/.*" in task.trainable
  params = {"dit": {"x": np.ones(2)}}
  assert task.assembled(params) is params


@pytest.fixture(name="config")
def _config(tmp_path):
  """The configuration of a short run over random networks."""
  records = make.make_records(
    make.MakeOptions(
      str(tmp_path / "records"),
      generation.SceneOptions(2, frames=5, height=32, width=48, views=1),
      processes=1,
      progress=False,
    )
  )
  variant = variants.get("nano")
  networks = {"video_vae": variant.video_vae, "vism": _task().network}
  for kind, network in networks.items():
    metadata = nano_bundle.metadata_of(variant, kind)
    store.save_network(
      tmp_path / kind / "model",
      nano_bundle.params_of(variant, kind),
      network,
      {**metadata, "identity": kind},
    )
  config = vism.get_config("size=nano")
  config.num_steps, config.batch_size = 2, 8
  config.evaluation.videos = 0
  config.data.records, config.data.num_held_out = str(records), 1
  config.init_from.video_vae = str(tmp_path / "video_vae")
  config.init_from.vism = str(tmp_path / "vism")
  config.optimizer.learning_rate = 1e-2
  config.model.lora_rank, config.model.lora_alpha = _RANK, _ALPHA
  return config_reader.read(config)


@pytest.mark.slow
def test_a_run_leaves_a_merged_network_and_its_lora(config, tmp_path):
  run.run("train", config, tmp_path / "run")
  base = store.load_network(tmp_path / "vism" / "model").params
  made = store.load_network(tmp_path / "run" / "model")
  assert made.config == _task().network
  found = dialects.load(tmp_path / "run" / "lora.safetensors").lora
  assert max(np.abs(pair.up).max() for pair in found.modules.values()) > 1e-4
  merged = lora_merging.merge(base["dit"], [lora.Weighted(found)], _HEAD_DIM)
  jax.tree.map(np.testing.assert_array_equal, made.params["dit"], merged)
  for name in set(base) - {"dit"}:
    jax.tree.map(np.testing.assert_array_equal, made.params[name], base[name])
