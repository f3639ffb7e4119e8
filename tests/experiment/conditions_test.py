"""Conditions of training: kept, made online, and by encoders in the step."""

import jax
import numpy as np
import pytest

from data_pipelines.trajscene import generation, make
from more4d_jax import errors, partitioning
from more4d_jax.checkpoints import store
from more4d_jax.data import loader
from more4d_jax.experiment import building
from more4d_jax.models import denoiser, latent_stats, variants
from more4d_jax.training import step as steps
from tests import nano_bundle
from tests.experiment import configurations

_NANO = variants.get("nano")
_BELOW = {"strag": "motion_vae", "vism": "video_vae"}
_FROZEN = {
  "strag": {
    "model.train_text_encoder": False,
    "model.train_motion_encoder": False,
  },
  "vism": {"model.train_text_encoder": False},
}


@pytest.fixture(scope="module", name="inputs")
def _inputs(tmp_path_factory):
  """Records, and autoencoders with random weights."""
  root = tmp_path_factory.mktemp("inputs")
  records = make.make_records(
    make.MakeOptions(
      str(root / "records"),
      generation.SceneOptions(5, frames=5, height=32, width=64, views=1),
      processes=1,
      progress=False,
    )
  )
  for kind in _BELOW.values():
    metadata = nano_bundle.metadata_of(_NANO, kind)
    metadata["base_latent_stats"] = latent_stats.identity(16).to_json()
    store.save_network(
      root / kind / "model",
      nano_bundle.params_of(_NANO, kind),
      getattr(_NANO, kind),
      {**metadata, "identity": kind},
    )
  return {"data.records": str(records), "root": root}


def _opened(inputs, kind, workdir, **changes):
  below = _BELOW[kind]
  task = configurations.task(
    kind,
    **{
      "data.records": inputs["data.records"],
      "data.num_held_out": 1,
      f"init_from.{below}": str(inputs["root"] / below),
      "batch_size": 8,
      **changes,
    },
  )
  return task, task.open(workdir)


def _batch(task, opened, mesh):
  """The first four examples of training, twice, as a step is given them."""
  task.prepare(opened)
  found = task.train_set(opened)
  (four,) = loader.batches_in_order(
    found.source, found.transform, 4, numbers=range(4)
  )
  batch = {name: np.concatenate([v, v]) for name, v in four.items()}
  encode = task.encoder(opened, mesh)
  return batch if encode is None else encode(batch)


def _random_params(objective):
  """Like initial values, but none of them zero."""
  shapes = partitioning.unbox(jax.eval_shape(objective.init, jax.random.key(0)))
  rng = np.random.default_rng(1)
  return jax.tree.map(
    lambda leaf: 0.1 * rng.standard_normal(leaf.shape, np.float32), shapes
  )


@pytest.mark.slow  # Each compiles autoencoders, encoders and a loss.
@pytest.mark.parametrize("kind", ["strag", "vism"])
def test_kept_and_online_conditions_give_equal_losses(inputs, kind, tmp_path):
  """And those of a network whose encoders are part of the step."""
  # What is random is drawn by the number of the example, here as in caches.
  crop = {"data.random_crop": True}
  changes = {**_FROZEN[kind], **crop}
  task, opened = _opened(inputs, kind, tmp_path, **changes)
  mesh = building.make_mesh(task.config)
  kept = _batch(task, opened, mesh)
  online = {"data.conditions": "online"}
  other, also = _opened(inputs, kind, tmp_path, **changes, **online)
  made = _batch(other, also, mesh)
  for name, leaf in task.example.items():
    assert kept[name].shape[1:] == made[name].shape[1:] == leaf.shape
    assert kept[name].dtype == made[name].dtype == leaf.dtype
  assert set(kept) == set(made) == set(task.example)

  whole, _ = _opened(inputs, kind, tmp_path, **crop, **online)
  raw = _batch(whole, whole.open(tmp_path), mesh)
  assert {"text", "image"} & set(raw) and "text_features" not in raw
  objective = task.objective(opened)
  params = _random_params(objective)
  inner = {k: v for k, v in params.items() if k not in task.outside}
  outside = {k: params[k] for k in task.outside}
  assert set(outside) == {f.split(".")[1][6:] for f in _FROZEN[kind]}
  loss = jax.jit(lambda p, b: objective.loss(p, b, steps.Keys(0, 3))[0])
  # Programs differ, and with them the order of sums.
  assert loss(inner, made) == pytest.approx(float(loss(inner, kept)), rel=1e-5)
  # Its own encoders see the same.
  for name, value in _features(task, outside, raw).items():
    kept = {**kept, name: value}
  assert loss(params, raw) == pytest.approx(float(loss(inner, kept)), rel=1e-5)


def _features(task, outside, raw):
  """What encoders with these parameters make of tokens and pictures."""
  module = task.objective().network
  empty = np.zeros((8, task.network.text.length), np.int32)
  empty[:, 0] = 1
  found = {}
  for name in task.outside:
    encoder = denoiser.ENCODERS[name]
    apply = jax.jit(
      lambda params, value, method=encoder.method: module.apply(
        {"params": params}, value, method=method
      )
    )
    value = raw[encoder.reads]
    if encoder.reads == "image":
      value = np.float32(value) / 255
    found[encoder.features] = apply(outside, value)
    if name == "text_encoder":
      found[denoiser.EMPTY_TEXT] = apply(outside, empty)[:, :1]
  return found


def test_no_step_has_the_encoders_that_are_not_trained():
  for kind, changes in _FROZEN.items():
    task = configurations.task(kind, **changes)
    mesh = building.make_mesh(task.config)
    step = building.train_step(task, mesh)
    assert set(step.state.params) == {"dit"}
    assert step.frozen == {}
    assert "text" not in step.batch and "image" not in step.batch
    assert step.batch["text_features"].shape == (
      task.config.batch_size,
      task.network.text.length,
      task.network.text.width,
    )


def test_what_stays_frozen_in_a_step_has_the_type_of_products():
  for dtype in ("float32", "bfloat16"):
    task = configurations.task("vism", **{"model.lora_rank": 2, "dtype": dtype})
    step = building.train_step(task, building.make_mesh(task.config))
    assert set(step.frozen) == {"dit"}
    assert {leaf.dtype for leaf in jax.tree.leaves(step.frozen)} == {
      np.dtype(jax.numpy.dtype(dtype))
    }
    assert {leaf.dtype for leaf in jax.tree.leaves(step.state.params)} == {
      np.dtype(np.float32)
    }
    kept = task.example["text_features"].dtype
    assert kept == (np.float32 if dtype == "float32" else np.float16)


def test_variants_are_of_kept_conditions_only():
  with pytest.raises(errors.UserError, match=r"data\.variants is 3, but"):
    configurations.read(
      "strag", **{"data.variants": 3, "data.conditions": "online"}
    )


def test_caches_are_named_by_encoders_and_random_choices(inputs, tmp_path):
  task, opened = _opened(inputs, "strag", tmp_path)
  first = {"data.records": inputs["data.records"], **_FROZEN["strag"]}

  def directory(**changes):
    task = configurations.task("strag", **{**first, **changes})
    return task._job(opened, "train").directory

  found = [
    task._job(opened, "train").directory,
    directory(),
    directory(seed=1),  # Of the initial values of encoders.
    directory(**{"data.variants": 2}),
    directory(**{"data.random_crop": True}),
    directory(**{"model.train_text_encoder": True}),
    directory(**{"model.motion_feature": "global"}),
    directory(dtype="bfloat16"),
  ]
  assert len(set(found)) == len(found)
  assert directory() == found[1]


@pytest.mark.slow
def test_variants_of_a_record_show_other_places(inputs, tmp_path):
  changes = {"data.random_crop": True, "data.variants": 3, "depth.noisy": 0.0}
  task, opened = _opened(inputs, "strag", tmp_path, **changes)
  task.prepare(opened)
  found = task.train_set(opened).source
  assert len(found) == 3 * 4
  images = [found[i]["image"] for i in range(3)]
  assert len({image.tobytes() for image in images}) == 3
  wide = opened.training[0].decode(("first_frame",))["first_frame"]
  for image in images:
    places = [wide[:, x : x + image.shape[1]] for x in range(wide.shape[1])]
    assert any(np.array_equal(image, place) for place in places)
  # Held-out records are seen as they will be sampled.
  held = task.held_out(opened).source
  middle = (wide.shape[1] - images[0].shape[1]) // 2
  assert len(held) == 1
  wide = opened.held_out[0].decode(("first_frame",))["first_frame"]
  np.testing.assert_array_equal(
    held[0]["image"], wide[:, middle : middle + images[0].shape[1]]
  )
