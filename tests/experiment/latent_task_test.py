"""Captions reach a network as the tokenizer of its release writes them.

The network to go on from lies as `more4d convert` leaves it: parts beside each
other, a SentencePiece model with the text encoder.
"""

import dataclasses
import logging

import jax
import numpy as np
import pytest

from data_pipelines.trajscene import generation, make
from more4d_jax import checkpoint_networks, errors, partitioning
from more4d_jax.checkpoints import directories, store, stored_arrays
from more4d_jax.experiment import run
from more4d_jax.models import latent_stats, lora, lora_merging, variants
from tests import nano_bundle
from tests.experiment import configurations
from tests.models.encoders import small_vocabulary

_NANO = variants.get("nano")
_PARTS = {
  "dit": "transformer",
  "text": "text_encoder",
  "motion": "motion_encoder",
}


def _write_pieces(folder, sentences):
  """Trains a small SentencePiece model."""
  folder.mkdir()
  return small_vocabulary.train(folder, sentences, 40)


def _write_bundle(root, sentences):
  """A bundle with STraG in parts; returns the words' own tokenizer.

  As in released weights motion features are compatible with the original; as
  in the weights those began with, there is no depth among the input channels.
  """
  params = nano_bundle.params_of(_NANO, "strag")
  embed = params["dit"]["patch_embed"]
  params["dit"]["patch_embed"] = {
    **embed,
    "kernel": embed["kernel"][..., :48, :],
  }
  strag = _NANO.strag.without_depth_latents()
  dit = dataclasses.replace(strag.dit, motion_alignment="compat")
  strag = dataclasses.replace(strag, dit=dit)
  parts = {}
  for field, kind in _PARTS.items():
    name = "dit" if field == "dit" else kind
    parts[name] = kind
    with directories.new_directory(root / kind) as place:
      store.save_params(place, params[name])
      files = {}
      if field == "text":
        words = _write_pieces(place / "tokenizer", sentences)
        files = {"tokenizer": "tokenizer"}
      config = getattr(strag, field)
      store.write_header(place, config, {"identity": kind}, files=files)
  assert set(parts) == set(params)
  metadata = {**nano_bundle.metadata_of(_NANO, "strag"), "identity": "start"}
  with directories.new_directory(root / "strag") as place:
    store.write_header(place, strag, metadata, parts=parts)
  store.write_model(root, {"strag": "strag"})
  return words


def _config(root, **changes):
  motion = nano_bundle.metadata_of(_NANO, "motion_vae")
  motion["base_latent_stats"] = latent_stats.identity(16).to_json()
  motion["identity"] = "0123"
  store.save_network(
    root / "motion_vae" / "model",
    nano_bundle.params_of(_NANO, "motion_vae"),
    _NANO.motion_vae,
    motion,
  )
  records = make.make_records(
    make.MakeOptions(
      str(root / "records"),
      generation.SceneOptions(3, frames=5, height=32, width=48, light=True),
      processes=1,
      progress=False,
    )
  )
  return {
    "data.records": str(records),
    "data.num_held_out": 1,
    "init_from.motion_vae": str(root / "motion_vae"),
    "init_from.strag": str(root / "bundle"),
    "batch_size": 8,
    "num_steps": 1,
    "evaluation.videos": 0,
    **changes,
  }


@pytest.mark.slow  # It makes latents and compiles a train step.
def test_a_run_reads_captions_with_the_tokenizer_it_starts_from(
  tmp_path, caplog
):
  words = _write_bundle(
    tmp_path / "bundle", ["a red ball moves to the left", "the box turns"]
  )
  config = configurations.read("strag", **_config(tmp_path))
  task = run.make_task(config)
  opened = task.open(tmp_path / "run")
  task.prepare(opened)
  example = task.train_set(opened).source[0]
  caption = opened.training[0].decode(("caption",))["caption"]
  length = _NANO.strag.text.length
  expected = [*words.encode(caption)[: length - 1], 1]
  assert example["text"][: len(expected)].tolist() == expected
  assert not example["text"][len(expected) :].any()

  with caplog.at_level(logging.INFO, "more4d_jax"):
    run.run("train", config, tmp_path / "run")
  assert "[:, :, :, 0:48, :] is taken, the rest is 0" in caplog.text
  assert "motion_alignment is compat in" in caplog.text
  # The finished network reads captions alike and is known by its tokenizer.
  made = store.load_network(tmp_path / "run" / "model")
  networks = checkpoint_networks.CheckpointNetworks({"strag": made})
  tokens = networks.tokens("strag", [caption])
  np.testing.assert_array_equal(tokens[0], example["text"])


def test_latents_of_another_tokenizer_are_others(tmp_path):
  sentences = ["a red ball moves to the left"], ["the blue box turns around"]
  changes = _config(tmp_path)
  facts = []
  for name, lines in zip(("one", "two"), sentences):
    _write_bundle(tmp_path / name, lines)
    changes["init_from.strag"] = str(tmp_path / name)
    task = configurations.task("strag", **changes)
    facts.append(task.open(tmp_path).tokenizer.facts)
  assert facts[0] != facts[1]
  # Bytes have no files, so that latents kept by earlier versions are found.
  changes["init_from.strag"] = ""
  opened = configurations.task("strag", **changes).open(tmp_path)
  assert opened.tokenizer.facts == {"text_length": _NANO.strag.text.length}


def test_a_large_vocabulary_without_tokenizer_is_refused(tmp_path):
  changes = {**_config(tmp_path), "init_from.strag": "", "size": "1p3b"}
  metadata = store.load_header(tmp_path / "motion_vae" / "model")["metadata"]
  store.save_network(
    tmp_path / "motion_vae" / "model",
    {"w": np.zeros(1)},
    _NANO.motion_vae,
    {**metadata, "size": "1p3b"},
  )
  task = configurations.task("strag", **changes)
  with pytest.raises(errors.UserError, match="reads 256384 kinds of") as caught:
    task.open(tmp_path)
  assert "without init_from.strag" in str(caught.value)
  assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["strag", "vism"])
def test_a_lora_is_built_without_the_network_it_changes_but_not_run(
  tmp_path, kind
):
  task = configurations.task(kind, **{"model.lora_rank": 2})
  assert task.trainable == ["lora/.*"]
  with pytest.raises(errors.UserError, match=rf"set init_from\.{kind}"):
    task.open(tmp_path)


def test_a_lora_is_merged_shard_by_shard():
  task = configurations.task(
    "strag", **{"model.lora_rank": 2, "model.lora_alpha": 3.0}
  )
  base = nano_bundle.params_of(_NANO, "strag")["dit"]
  objective = task.objective()
  shapes = jax.eval_shape(lambda: objective.init(jax.random.key(0)))
  generator = np.random.default_rng(0)
  trained = jax.tree.map(
    lambda leaf: generator.standard_normal(leaf.shape, np.float32),
    partitioning.unbox(shapes)[lora.COLLECTION],
  )
  read = []

  def stored(array):
    def part(index):
      read.append(np.asarray(array)[index].size / array.size)
      return np.asarray(array)[index]

    return stored_arrays.changed(array, part)

  mesh = partitioning.make_mesh(partitioning.MeshConfig(fsdp=8))
  with jax.set_mesh(mesh):
    params = {"dit": jax.tree.map(stored, base), lora.COLLECTION: trained}
    found = task.assembled(params)["dit"]
  head_dim = _NANO.strag.dit.layer.head_dim
  weighted = lora.Weighted(lora.from_trained("x", trained, 3.0, head_dim))
  wanted = lora_merging.merge(base, [weighted], head_dim)
  # Sums of a part of a product's columns are blocked in another way.
  jax.tree.map(
    lambda x, y: np.testing.assert_allclose(x, y, rtol=2e-5, atol=1e-5),
    found,
    wanted,
  )
  kernel = found["blocks"]["ffn"]["fc1"]["kernel"]
  assert kernel.addressable_shards[0].data.size * 8 == kernel.size
  large = [share for share in read if share < 1]
  assert max(large) == 1 / 8
