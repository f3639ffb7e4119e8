"""Files that convert refuses: one clear line, and nothing is written."""

import json
import os
import pickle
import struct
import zipfile

import numpy as np
import pytest
from safetensors import numpy as safetensors_numpy

from more4d_jax import errors
from more4d_jax.checkpoints import array_trees, store, weight_files
from more4d_jax.name_maps import matching
from more4d_jax.published import convert
from tests.published import released

_QUIET = convert.Options(progress=False)


def _refused(source, out, match, options=_QUIET):
  """One line, and nothing is there afterwards."""
  with pytest.raises(errors.UserError, match=match) as caught:
    convert.convert(source, out, options)
  assert "\n" not in str(caught.value)
  assert not out.exists()
  return str(caught.value)


def test_a_truncated_file_writes_nothing(tmp_path):
  whole = tmp_path / "whole.safetensors"
  released.write_safetensors(whole, released.inpaint())
  data, cut = whole.read_bytes(), tmp_path / "cut.safetensors"
  (tmp_path / "config.json").write_text(json.dumps(released.CONFIG))
  for length in (0, 7, 8, 100, len(data) // 2, len(data) - 1):
    cut.write_bytes(data[:length])
    _refused(cut, tmp_path / "out", "truncated")
  cut.write_bytes(data + b"more")
  _refused(cut, tmp_path / "out", "truncated")
  header = json.dumps({"a": {"dtype": "F32", "shape": [2]}}).encode()
  cut.write_bytes(struct.pack("<Q", len(header)) + header)
  _refused(cut, tmp_path / "out", "damaged")


class _Program:
  """Runs a command when Python's own reader unpickles it."""

  def __init__(self, command):
    self._command = command

  def __reduce__(self):
    return os.system, (self._command,)


def test_a_malicious_file_runs_nothing(tmp_path):
  victim, path = tmp_path / "victim", tmp_path / "weights.pth"
  content = pickle.dumps({"head.weight": _Program(f"touch {victim}")}, 2)
  with zipfile.ZipFile(path, "w") as archive:
    archive.writestr("archive/data.pkl", content)
  line = _refused(path, tmp_path / "out", "is refused")
  assert f"{os.name}.system" in line
  assert not victim.exists()


def test_types_that_are_mixed_are_counted_and_can_be_brought_to_one(tmp_path):
  weights = released.inpaint()
  weights["head.head.bias"] = weights["head.head.bias"].astype(np.float16)
  path = tmp_path / "in" / "a.safetensors"
  released.write_safetensors(path, weights)
  (tmp_path / "in" / "config.json").write_text(json.dumps(released.CONFIG))
  line = _refused(path, tmp_path / "out", "--dtype")
  assert "1 of float16; head.head.bias differ" in line
  options = convert.Options(dtype="float32", progress=False)
  convert.convert(path, tmp_path / "out", options)
  network = store.load_network(tmp_path / "out" / "vism_transformer")
  found = {v.dtype for v in matching.flatten(network.params).values()}
  assert found == {np.dtype(np.float32)}
  with pytest.raises(errors.UserError, match="expected a dtype among"):
    convert.Options(dtype="int4")


def test_a_config_json_of_another_size_is_refused(tmp_path):
  released.write_safetensors(tmp_path / "a.safetensors", released.inpaint())
  config = {"dim": 64, "num_heads": 2}
  (tmp_path / "config.json").write_text(json.dumps(config))
  line = _refused(tmp_path / "a.safetensors", tmp_path / "out", "another size")
  assert "64" in line
  assert "32" in line


def test_tensors_that_are_missing_or_too_many_write_nothing(tmp_path):
  weights = released.inpaint()
  del weights["time_projection.1.bias"]
  weights["blocks.0.extra.weight"] = np.zeros(3, np.float32)
  path = tmp_path / "a.safetensors"
  released.write_safetensors(path, weights)
  line = _refused(path, tmp_path / "out", "missing time_projection")
  assert "not expected blocks.0.extra.weight" in line


def test_unknown_files_say_what_was_looked_for(tmp_path):
  path = tmp_path / "a.safetensors"
  released.write_safetensors(path, {"what.weight": np.zeros(3, np.float32)})
  line = _refused(path, tmp_path / "out", "no known kind")
  assert "visual.cls_embedding" in line
  assert "what.weight" in line
  _refused(tmp_path, tmp_path / "out", "no known kind")
  _refused(tmp_path / "none", tmp_path / "out", "name what you downloaded")
  (tmp_path / "empty").mkdir()
  _refused(tmp_path / "empty", tmp_path / "out", "name the folder")
  (tmp_path / "photos").mkdir()
  (tmp_path / "photos" / "a.jpg").touch()
  with pytest.raises(errors.UserError, match="is no bundle"):
    convert.convert(path, tmp_path / "photos", _QUIET)


def test_two_files_of_one_kind_are_not_chosen_between(tmp_path):
  for name in ("a", "b"):
    path = tmp_path / f"{name}.safetensors"
    released.write_safetensors(path, released.inpaint())
  (tmp_path / "config.json").write_text(json.dumps(released.CONFIG))
  _refused(tmp_path, tmp_path / "out", "both hold a vism_transformer")


def test_shards_and_their_index_must_agree(tmp_path):
  released.write_shards(tmp_path, released.inpaint())
  (tmp_path / "config.json").write_text(json.dumps(released.CONFIG))
  shard = tmp_path / "diffusion_pytorch_model-1.safetensors"
  whole = safetensors_numpy.load_file(shard)
  released.write_safetensors(shard, dict(list(whole.items())[:-1]))
  _refused(
    tmp_path,
    tmp_path / "out",
    "disagree: diffusion_pytorch_model-1.safetensors lacks",
  )
  shard.unlink()
  _refused(tmp_path, tmp_path / "out", "download all 2 shards")


class _Interrupted(BaseException):
  """As Ctrl-C, which is no Exception."""


def test_an_interrupted_conversion_leaves_nothing(tmp_path, monkeypatch):
  path = tmp_path / "a.safetensors"
  released.write_safetensors(path, released.inpaint())
  (tmp_path / "config.json").write_text(json.dumps(released.CONFIG))
  opened = weight_files.open_weights(path)
  count = 0

  def stop(name, tensor):
    def read():
      nonlocal count
      count += 1
      if count > 20:
        raise _Interrupted(name)
      return tensor.read()

    return array_trees.LazyArray(tensor.shape, tensor.dtype, read)

  tensors = {name: stop(name, t) for name, t in opened.tensors.items()}
  weights = weight_files.Weights(path, tensors, opened.config)
  monkeypatch.setattr(weight_files, "open_weights", lambda _: weights)
  out = tmp_path / "out"
  with pytest.raises(_Interrupted):
    convert.convert(path, out, _QUIET)
  assert not any(out.rglob("network.json"))
  assert not any(out.glob("vism_transformer*"))
  # What a process that was killed leaves is not taken for a network.
  monkeypatch.undo()
  partial = out / "vism_transformer.partial"
  partial.mkdir(parents=True)
  (partial / "network.json").write_text("{}")
  convert.convert(path, out, _QUIET)
  assert [p.name for p in sorted(out.iterdir())] == [
    "model.json",
    "vism_transformer",
  ]
