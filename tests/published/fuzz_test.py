"""Damaged checkpoints: refused in one line, or converted as they now are."""

import json
import shutil

import numpy as np
import pytest
from safetensors import numpy as safetensors_numpy

from more4d_jax.checkpoints import store
from more4d_jax.name_maps import dit, matching
from tests import fuzzing
from tests.published import released

_NAME = "diffusion_pytorch_model.safetensors"


def _use(source, out):
  def use():
    shutil.rmtree(out, ignore_errors=True)
    arguments = ["convert", "--from", str(source), "--to", str(out)]
    printed = fuzzing.command([*arguments, "--dtype", "float32"])
    assert "converted vism_transformer" in printed
    return matching.flatten(store.load_network(out / "vism_transformer").params)

  return use


def _params(files):
  weights = {}
  for file in files:
    weights |= safetensors_numpy.load_file(file)
  bare = {
    k.removeprefix("model.diffusion_model."): v for k, v in weights.items()
  }
  found = matching.match(dit.DIT, matching.shapes_of(bare))
  found = found.with_head_dim(16)
  return matching.flatten(matching.to_params(found, bare))


def _right(files):
  def right(found):
    for path, value in _params(files).items():
      expected = value.astype(np.float32)
      np.testing.assert_array_equal(found[path], expected, err_msg=path)

  return right


@pytest.fixture
def folder(tmp_path):
  found = tmp_path / "in"
  found.mkdir()
  (found / "config.json").write_text(json.dumps(released.CONFIG))
  return found


@pytest.mark.slow
@pytest.mark.parametrize("count", fuzzing.COUNTS)
def test_a_file(count, folder, tmp_path):
  path = folder / _NAME
  released.write_safetensors(path, released.inpaint())
  mishaps = fuzzing.damaged_bytes(path.read_bytes())
  use = _use(folder, tmp_path / "out")
  fuzzing.fuzz(mishaps, path, use, _right([path]), count=count)


@pytest.mark.slow
@pytest.mark.parametrize("count", fuzzing.COUNTS)
def test_an_index(count, folder, tmp_path):
  released.write_shards(folder, released.inpaint())
  path = folder / f"{_NAME}.index.json"
  mishaps = fuzzing.damaged_bytes(path.read_bytes()) | fuzzing.damaged_json(
    json.loads(path.read_text())
  )
  shards = sorted(folder.glob("*.safetensors"))
  right = _right(shards)
  use = _use(folder, tmp_path / "out")
  fuzzing.fuzz(mishaps, path, use, right, count=count)


@pytest.mark.slow
@pytest.mark.parametrize("count", fuzzing.COUNTS)
def test_a_configuration(count, folder, tmp_path):
  released.write_safetensors(folder / _NAME, released.inpaint())
  path = folder / "config.json"
  mishaps = fuzzing.damaged_bytes(path.read_bytes()) | fuzzing.damaged_json(
    json.loads(path.read_text())
  )
  use = _use(folder, tmp_path / "out")

  def right(found):
    # Heads decide where rotated values go; all else is the file's.
    whole = _params([folder / _NAME])
    assert found.keys() == whole.keys()
    np.testing.assert_array_equal(
      found["blocks/ffn/fc1/kernel"], whole["blocks/ffn/fc1/kernel"]
    )

  fuzzing.fuzz(mishaps, path, use, right, count=count)


@pytest.mark.slow
@pytest.mark.parametrize("count", fuzzing.COUNTS)
def test_a_file_of_pytorch(count, folder, tmp_path):
  weights = released.inpaint()
  path = folder / "model.pth"
  released.write_torch(path, weights)

  def right(found):
    assert found["blocks/ffn/fc1/kernel"].shape == (2, 32, 24)
    assert found["blocks/ffn/fc1/kernel"].dtype == np.float32

  mishaps = fuzzing.damaged_bytes(path.read_bytes())
  use = _use(folder, tmp_path / "out")
  fuzzing.fuzz(mishaps, path, use, right, count=count)
