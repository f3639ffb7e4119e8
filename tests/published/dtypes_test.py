"""--dtype sets what weights are stored in and what products are computed in."""

import collections
import dataclasses
import json
import re

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from more4d_jax import errors
from more4d_jax.checkpoints import (
  dtypes,
  safetensors_files,
  store,
  weight_files,
)
from more4d_jax.checkpoints.array_trees import LazyArray
from more4d_jax.cli import main
from more4d_jax.lora import requests
from more4d_jax.models import backbone, quantised
from more4d_jax.name_maps import dit, matching
from more4d_jax.published import convert
from tests.published import released

_TYPES = (np.float32, np.float16, ml_dtypes.bfloat16)


def _source(folder, kinds):
  """The transformer of Wan2.1-Fun-InP, tensors of these types in turn."""
  weights = {
    name: value.astype(kinds[number % len(kinds)])
    for number, (name, value) in enumerate(released.inpaint().items())
  }
  _write(folder / "a.safetensors", weights)
  (folder / "config.json").write_text(json.dumps(released.CONFIG))
  return weights


def _write(path, weights):
  safetensors_files.write(
    path,
    {
      name: LazyArray(v.shape, v.dtype, lambda v=v: v)
      for name, v in weights.items()
    },
  )


def _converted(source, out, dtype):
  options = convert.Options(dtype=dtype, progress=False)
  convert.convert(source, out, options)
  return store.load_network(out / "vism_transformer")


def _call(network):
  """The velocity as a function of the parameters, at random inputs."""
  generator = np.random.default_rng(0)
  draw = lambda *shape: jnp.asarray(generator.normal(size=shape), jnp.float32)  # noqa: E731
  config = network.config
  inputs = draw(1, 1, 4, 4, 36), jnp.asarray([300.0]), draw(1, 5, 12)
  image = draw(1, 3, config.image_width)
  module = backbone.WanDiT(dataclasses.replace(config, attention="reference"))
  return lambda params: module.apply(
    {"params": params}, *inputs, image_context=image
  )


def _products(jaxpr, inside=False):
  """Types of the operands of every product with a matrix in the layers."""
  for equation in jaxpr.eqns:
    if inside and equation.primitive.name == "dot_general":
      left, right = (v.aval for v in equation.invars)
      if right.ndim == 2:
        yield left.dtype.name, right.dtype.name
    within = inside or equation.primitive.name == "scan"
    for inner in jax.core.jaxprs_in_params(equation.params):
      yield from _products(inner, within)


@pytest.mark.parametrize(
  "kinds", [(np.float32,), (np.float16,), _TYPES], ids=["f32", "f16", "mixed"]
)
def test_bfloat16_computes_in_bfloat16_whatever_it_came_from(tmp_path, kinds):
  weights = _source(tmp_path / "in", kinds)
  half = _converted(tmp_path / "in", tmp_path / "half", "bfloat16")
  whole = _converted(tmp_path / "in", tmp_path / "whole", "float32")
  assert (half.config.dtype, whole.config.dtype) == ("bfloat16", "float32")
  for network, dtype in ((half, ml_dtypes.bfloat16), (whole, np.float32)):
    for path, value in matching.flatten(network.params).items():
      assert value.dtype == dtype, path
  products = [
    set(_products(jax.make_jaxpr(_call(n))(n.params).jaxpr))
    for n in (half, whole)
  ]
  assert products[0] == {("bfloat16", "bfloat16")}
  assert products[1] == {("float32", "float32")}
  found, expected = (jax.jit(_call(n))(n.params) for n in (half, whole))
  off = np.abs(found - expected).max() / np.abs(expected).max()
  # Eight bits of each of some ten factors; an error in a layer gives 1.
  assert 1e-5 < off < 0.05
  assert len(weights) == len(released.inpaint())


def test_int8_is_for_the_kernels_of_layers(tmp_path):
  _source(tmp_path / "in", [np.float32])
  whole = _converted(tmp_path / "in", tmp_path / "whole", "float32")
  network = _converted(tmp_path / "in", tmp_path / "eight", "int8")
  assert network.config.dtype == "bfloat16"
  assert network.metadata["published"]["dtype"] == "int8"
  exact, found = (matching.flatten(n.params) for n in (whole, network))
  kernels = {path for path in exact if re.match("blocks/.+/kernel", path)}
  assert len(kernels) == 12
  scales = {f"{path}_scale" for path in kernels}
  assert set(found) == {*exact, *scales}
  for path, value in exact.items():
    if path in kernels:
      # Those of what the file holds, which bfloat16 did not round.
      numbers, scale = quantised.quantise(value[...])
      np.testing.assert_array_equal(found[path], numbers, err_msg=path)
      np.testing.assert_array_equal(found[f"{path}_scale"], scale)
    else:
      rounded = value.astype(ml_dtypes.bfloat16)
      np.testing.assert_array_equal(found[path], rounded, err_msg=path)
  stored = store.open_network(tmp_path / "eight/vism_transformer")
  flat = matching.flatten(stored.params)
  assert all(flat[path].rows == 1 for path in kernels | scales)
  expected, velocity = (jax.jit(_call(n))(n.params) for n in (whole, network))
  off = np.abs(velocity - expected).max() / np.abs(expected).max()
  assert 1e-5 < off < 0.05  # As in bfloat16.


def test_int8_is_converted_with_one_tensor_in_memory(tmp_path, monkeypatch):
  """Every published tensor is read once; of scales alone more are kept."""
  _source(tmp_path / "in", [np.float32])
  reads = collections.Counter()
  remembering = weight_files.remembering_last

  def counting(tensors):
    def counted(name, tensor):
      def read():
        reads[name] += 1
        return tensor.read()

      return dataclasses.replace(tensor, read=read)

    return remembering({n: counted(n, t) for n, t in tensors.items()})

  monkeypatch.setattr(weight_files, "remembering_last", counting)
  _converted(tmp_path / "in", tmp_path / "out", "int8")
  assert set(reads.values()) == {1}
  assert set(reads) == set(released.inpaint())


def test_int8_weights_are_not_given_back(tmp_path, capsys):
  _source(tmp_path / "in", [np.float32])
  _converted(tmp_path / "in", tmp_path / "out", "int8")
  part = str(tmp_path / "out" / "vism_transformer")
  command = ["convert", "--reverse", "--from", part, "--to"]
  assert main.main([*command, str(tmp_path / "back")]) == 2
  error = capsys.readouterr().err
  assert "holds int8 weights, which are no longer what was published" in error
  assert error.count("\n") == 1
  assert not list(tmp_path.glob("back*"))


def test_the_type_of_the_file_decides_without_a_flag(tmp_path):
  for kind, computed in (
    (np.float16, "float32"),
    (np.float32, "float32"),
    (ml_dtypes.bfloat16, "bfloat16"),
  ):
    name = np.dtype(kind).name
    _source(tmp_path / name, [kind])
    network = _converted(tmp_path / name, tmp_path / f"{name}-out", None)
    assert network.config.dtype == computed
    assert network.params["head"]["linear"]["kernel"].dtype == kind
  _source(tmp_path / "mixed", _TYPES)
  with pytest.raises(errors.UserError, match="mixes types"):
    _converted(tmp_path / "mixed", tmp_path / "mixed-out", None)


def test_eight_bits_with_scales_in_shards(tmp_path, capsys):
  weights, files, folder = released.inpaint(), {}, tmp_path / "in"
  expected, places = dict(weights), {}
  for name, value in weights.items():
    if name.startswith("blocks.") and value.ndim == 2:
      scale = np.abs(value).max() / np.float32(448)
      eight = (value / scale).astype(ml_dtypes.float8_e4m3fn)
      expected[name] = eight.astype(np.float32) * scale
      files[name] = eight
      module = name.removesuffix(".weight")
      files[f"{module}.scale_weight"] = np.asarray(scale)
      files[f"{module}.scale_input"] = np.ones((), np.float32)
    else:
      files[name] = value.astype(np.float16)
      expected[name] = files[name].astype(np.float32)
  files["scaled_fp8"] = np.zeros(2, ml_dtypes.float8_e4m3fn)
  names = sorted(files)  # A weight and its scale may be in different shards.
  for number in range(3):
    mine = names[number::3]
    _write(folder / f"x-{number}.safetensors", {n: files[n] for n in mine})
    places |= dict.fromkeys(mine, f"x-{number}.safetensors")
  index = folder / "x.safetensors.index.json"
  index.write_text(json.dumps({"weight_map": places}))
  (folder / "config.json").write_text(json.dumps(released.CONFIG))
  command = ["convert", "--from", str(folder), "--to", str(tmp_path / "out")]
  assert main.main(command) == 2
  assert "give --dtype float32 or --dtype bfloat16" in capsys.readouterr().err
  assert main.main([*command, "--dtype", "float32"]) == 0
  printed = capsys.readouterr().out
  assert "24 weights of eight bits times scales" in printed
  assert "25 tensors (scale_input, scaled_fp8) that are no weights" in printed
  found = matching.match(dit.DIT, matching.shapes_of(expected))
  theirs = matching.to_params(found.with_head_dim(16), expected)
  network = store.load_network(tmp_path / "out" / "vism_transformer")
  for path, value in matching.flatten(theirs).items():
    ours = matching.flatten(network.params)[path]
    np.testing.assert_array_equal(ours, value, err_msg=path)


def test_a_flag_at_load(nano_checkpoint):
  plain = requests.open_networks(nano_checkpoint)
  half = requests.open_networks(nano_checkpoint, dtype="bfloat16")
  for kind in ("strag", "vism"):
    config = half[kind].config
    assert {config.dit.dtype, config.text.dtype} == {"bfloat16"}
    leaves = jax.tree.leaves(half[kind].params)
    assert {leaf.dtype.name for leaf in leaves} == {"bfloat16"}
  assert half["strag"].config.motion.dtype == "bfloat16"
  for kind in ("video_vae", "motion_vae", "depth"):
    assert half[kind].config == plain[kind].config
    jax.tree.map(
      np.testing.assert_array_equal, half[kind].params, plain[kind].params
    )
  with pytest.raises(
    errors.UserError, match="expected --dtype bfloat16, float32, int8, found"
  ):
    requests.open_networks(nano_checkpoint, dtype="float16")


def test_int8_at_load(nano_checkpoint, tmp_path):
  plain = requests.open_networks(nano_checkpoint)
  eight = requests.open_networks(nano_checkpoint, dtype="int8")
  for kind in ("strag", "vism"):
    assert eight[kind].config == dtypes.computing_in(
      plain[kind].config, "bfloat16"
    )
    flat = matching.flatten(eight[kind].params)
    for path, value in matching.flatten(plain[kind].params).items():
      if "/blocks/" in path and path.endswith("/kernel"):
        numbers, scale = quantised.quantise(value[...])
        np.testing.assert_array_equal(flat.pop(path), numbers)
        np.testing.assert_array_equal(flat.pop(f"{path}_scale"), scale)
      else:
        assert flat.pop(path).dtype == ml_dtypes.bfloat16
    assert not flat
  for kind in ("video_vae", "motion_vae", "depth"):
    jax.tree.map(
      np.testing.assert_array_equal, eight[kind].params, plain[kind].params
    )
  network = eight["vism"]
  for kind in eight:
    store.save_network(
      tmp_path / kind, eight[kind].params, eight[kind].config, {}
    )
  store.write_model(tmp_path, {kind: kind for kind in eight})
  again = requests.open_networks(tmp_path)["vism"]
  jax.tree.map(np.testing.assert_array_equal, again.params, network.params)
  assert again.config == network.config
  with pytest.raises(
    errors.UserError, match="which --dtype float32 would not make more exact"
  ):
    requests.open_networks(tmp_path, dtype="float32")


def test_networks_that_share_an_encoder_share_the_new_one(nano_checkpoint):
  networks = dict(store.open_bundle(nano_checkpoint))
  text = networks["strag"].params["text_encoder"]
  vism = networks["vism"]
  params = {**vism.params, "text_encoder": text}
  networks["vism"] = dataclasses.replace(vism, params=params)
  half = dtypes.cast(networks, "bfloat16")
  ours, theirs = (half[k].params["text_encoder"] for k in ("strag", "vism"))
  assert ours["embedding"] is theirs["embedding"]
  whole = dtypes.cast(half, "float32")
  expected = (
    text["embedding"][...].astype(ml_dtypes.bfloat16).astype(np.float32)
  )
  found = whole["vism"].params["text_encoder"]["embedding"]
  np.testing.assert_array_equal(found, expected)
  assert whole["vism"].config.dit.dtype == "float32"
