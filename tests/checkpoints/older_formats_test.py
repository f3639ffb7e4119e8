"""Networks of older versions compute what they did; trainings are refused."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors import numpy as safetensors_numpy

from more4d_jax import errors
from more4d_jax.checkpoints import (
  bundling,
  headers,
  store,
  training_states,
)
from more4d_jax.models import variants
from more4d_jax.name_maps import matching
from more4d_jax.published import assembly, convert, revert
from tests import nano_bundle
from tests.published import released

_LEAVES = ("q/kernel", "q/bias", "norm_q/scale", "k/kernel", "k/bias")
_ROTATED = {f"blocks/self_attn/{leaf}" for leaf in (*_LEAVES, "norm_k/scale")}


def _neighbouring(value, head_dim):
  """Column by column: what lies half a head apart comes together."""
  out = np.empty_like(value)
  half = head_dim // 2
  for column in range(value.shape[-1]):
    head, place = divmod(column, head_dim)
    pair, member = place % half, place // half
    out[..., head * head_dim + 2 * pair + member] = value[..., column]
  return out


def _older(params, root, head_dim):
  """The parameters as format 1 has them."""
  flat = matching.flatten(params)
  rotated = {root + path for path in _ROTATED}
  assert rotated <= set(flat)
  return matching.unflatten(
    {
      path: _neighbouring(np.asarray(value), head_dim)
      if path in rotated
      else value
      for path, value in flat.items()
    }
  )


def _state_older(directory):
  for name in ("network.json", "model.json"):
    path = directory / name
    if path.exists():
      header = json.loads(path.read_text())
      path.write_text(json.dumps({**header, "format": 1}))


def _save_older(directory, variant, kind):
  """Writes a network as format 1 did; returns it in today's order."""
  config = getattr(variant, kind)
  params = jax.tree.map(np.asarray, nano_bundle.params_of(variant, kind))
  older = params
  if hasattr(config, "dit"):
    older = _older(params, "dit/", config.dit.layer.head_dim)
  store.save_network(directory, older, config, {"identity": "as it was"})
  _state_older(directory)
  return params


@pytest.mark.parametrize("kind", ["strag", "vism", "video_vae"])
def test_a_network_of_format_1_is_brought_to_the_order_of_today(tmp_path, kind):
  expected = _save_older(tmp_path / "model", variants.get("nano"), kind)
  found = store.load_network(tmp_path / "model")
  assert found.metadata["identity"] == "as it was"
  jax.tree.map(np.testing.assert_array_equal, found.params, expected)
  network = store.open_network(tmp_path / "model")
  stored = matching.flatten(network.params)
  flat = matching.flatten(expected)
  assert set(stored) == set(flat)
  for path, value in flat.items():
    np.testing.assert_array_equal(stored[path], value)
    if path.startswith("dit/blocks/"):
      np.testing.assert_array_equal(stored[path][1], value[1])
      part = (slice(None), *[slice(1, n - 1) for n in value.shape[1:]])
      np.testing.assert_array_equal(stored[path][part], value[part])


def test_bundling_and_writing_again_keep_what_it_computes(tmp_path):
  expected = _save_older(
    tmp_path / "run" / "model", variants.get("nano"), "vism"
  )
  bundling.bundle([tmp_path / "run"], tmp_path / "bundle")
  found = store.load_network(tmp_path / "bundle" / "vism")
  jax.tree.map(np.testing.assert_array_equal, found.params, expected)
  store.save_network(tmp_path / "new", found.params, found.config, {})
  header = json.loads((tmp_path / "new" / "network.json").read_text())
  assert header["format"] == headers.FORMAT
  again = store.load_network(tmp_path / "new").params
  jax.tree.map(np.testing.assert_array_equal, again, expected)


def test_a_converted_bundle_of_format_1_gives_back_what_was_published(tmp_path):
  weights = released.inpaint()
  name = "diffusion_pytorch_model.safetensors"
  released.write_safetensors(tmp_path / "in" / name, weights)
  (tmp_path / "in" / "config.json").write_text(json.dumps(released.CONFIG))
  options = convert.Options(progress=False, clip=assembly.Clip(frames=5))
  convert.convert(tmp_path / "in", tmp_path / "out", options)
  place = tmp_path / "out" / "vism_transformer"
  network = store.load_network(place)
  older = _older(network.params, "", network.config.layer.head_dim)
  # The order of format 1 is that of the file.
  kernel = older["blocks"]["self_attn"]["q"]["kernel"][1]
  published = weights["blocks.1.self_attn.q.weight"]
  np.testing.assert_array_equal(kernel, published.T)
  store.save_network(place, older, network.config, network.metadata)
  _state_older(place)
  _state_older(tmp_path / "out")
  revert.revert(place, tmp_path / "back")
  back = safetensors_numpy.load_file(tmp_path / "back" / name)
  assert set(back) == set(weights)
  for key, value in weights.items():
    np.testing.assert_array_equal(back[key], value)


@pytest.mark.parametrize(
  ("params", "refused"),
  [
    ({"dit": {"blocks": {"self_attn": {"q": {"kernel": 1.0}}}}}, True),
    ({"lora": {"blocks": {"self_attn": {"k": {"up": 1.0}}}}}, True),
    ({"dit": {"blocks": {"cross_attn": {"q": {"kernel": 1.0}}}}}, False),
  ],
)
def test_a_training_of_format_1_goes_on_only_without_rotation(
  tmp_path, monkeypatch, params, refused
):
  state = jax.tree.map(jnp.asarray, params)
  monkeypatch.setattr(training_states.headers, "FORMAT", 1)
  checkpoints = training_states.TrainingCheckpoints(
    tmp_path, training_states.Keeping(1)
  )
  checkpoints.save(3, state, {"loader": {}})
  checkpoints.close()
  monkeypatch.undo()
  checkpoints = training_states.TrainingCheckpoints(
    tmp_path, training_states.Keeping(1)
  )
  if refused:
    with pytest.raises(errors.UserError, match="rotates other pairs") as caught:
      checkpoints.restore(state)
    assert "\n" not in str(caught.value)
  else:
    found, _ = checkpoints.restore(state)
    assert found == state
  # What is written today is read.
  checkpoints.save(4, state, {"loader": {}})
  assert checkpoints.restore(state)[0] == state
  checkpoints.close()
