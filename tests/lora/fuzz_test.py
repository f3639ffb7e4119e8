"""Damaged LoRA files: refused in one line, or what another reader finds."""

import copy
import json
import struct

import numpy as np
import pytest
from hypothesis import strategies
from safetensors import numpy as safetensors_numpy

from more4d_jax.checkpoints import store
from more4d_jax.lora import dialects, requests
from tests import fuzzing
from tests.lora import manifest

_NANO = {"D": 64, "M": 128, "T": 32, "F": 64, "V": 64}


def _tensors():
  """A LoRA of the nano checkpoint with pairs, alphas and full differences."""
  generator = np.random.default_rng(0)
  found = {}
  for name, (width, features, _) in manifest.modules(_NANO).items():
    if "img" in name:
      continue
    module = f"diffusion_model.{name}"
    draw = lambda *shape: generator.normal(size=shape).astype(np.float32)  # noqa: E731
    found[f"{module}.lora_down.weight"] = draw(2, width)
    found[f"{module}.lora_up.weight"] = draw(features, 2)
    found[f"{module}.alpha"] = np.asarray(1.0, np.float32)
    found[f"{module}.diff_b"] = draw(features)
  return found


def _options():
  values = {"lora_alpha": 2.0, "r": 2, "use_rslora": True}
  values["alpha_pattern"] = {"self_attn.q": 4.0}
  return {"lora_adapter_metadata": json.dumps(values)}


def _split(data):
  """The header of a safetensors file as an object, and what follows."""
  length = struct.unpack("<Q", data[:8])[0]
  return json.loads(data[8 : 8 + length]), data[8 + length :]


def _joined(header, rest):
  text = json.dumps(header).encode()
  return struct.pack("<Q", len(text)) + text + rest


@strategies.composite
def _damaged_header(draw, data):
  """One fact of the header is another."""
  header, rest = _split(data)
  what, changed = draw(fuzzing.damaged_value(header))
  return fuzzing.Damaged(f"header {what}", _joined(changed, rest))


@strategies.composite
def _damaged_options(draw, data):
  """PEFT's options say something else."""
  header, rest = _split(data)
  values = json.loads(header["__metadata__"]["lora_adapter_metadata"])
  what, changed = draw(fuzzing.damaged_value(values))
  header["__metadata__"]["lora_adapter_metadata"] = json.dumps(changed)
  return fuzzing.Damaged(f"options {what}", _joined(header, rest))


@strategies.composite
def _damaged_tensor(draw):
  """One tensor is of another type, shape or value."""
  tensors = _tensors()
  name = draw(strategies.sampled_from(sorted(tensors)))
  what, value = draw(fuzzing.damaged_array(tensors[name]))
  if value.dtype.kind in "SUc":  # Types that such files cannot hold.
    what, value = f"as bytes for {what}", np.frombuffer(b"x", np.uint8)
  changed = {**tensors, name: np.ascontiguousarray(value)}
  return fuzzing.Damaged(
    f"{name} {what}", safetensors_numpy.save(changed, _options())
  )


@strategies.composite
def _renamed_tensor(draw):
  """One tensor has a name that means something else."""
  tensors = _tensors()
  name = draw(strategies.sampled_from(sorted(tensors)))
  part = draw(strategies.sampled_from(name.split(".")))
  other = draw(
    strategies.sampled_from(["", "99", "weight", "lora_B", "q", "ä"])
  )
  changed = copy.copy(tensors)
  value = changed.pop(name)
  changed[name.replace(part, other, 1)] = value
  return fuzzing.Damaged(
    f"{name} with {other!r} for {part!r}",
    safetensors_numpy.save(changed, _options()),
  )


@pytest.fixture
def file(tmp_path):
  path = tmp_path / "lora.safetensors"
  safetensors_numpy.save_file(_tensors(), path, _options())
  return path


def _mishaps(path):
  data = path.read_bytes()
  return strategies.one_of(
    fuzzing.damaged_bytes(data),
    _damaged_header(data),
    _damaged_options(data),
    _damaged_tensor(),
    _renamed_tensor(),
  )


def _assert_read_right(path, lora):
  """What was read is what the library of the format reads."""
  theirs = safetensors_numpy.load_file(path)
  for place, pair in lora.modules.items():
    name = dialects.module_name("comfyui", place)
    mine = {k: v for k, v in theirs.items() if _ends(k, name)}
    downs = [v for k, v in mine.items() if "lora_down" in k or "lora_A" in k]
    assert any(np.array_equal(pair.down.T, value) for value in downs)
    assert np.isfinite(pair.scale)
  assert len(lora.modules) <= len(theirs)


def _ends(key, name):
  bare = name.removeprefix("diffusion_model.").replace(".", "_")
  return bare in key.replace(".", "_")


@pytest.mark.parametrize("count", fuzzing.COUNTS)
def test_reading_and_merging(count, file, nano_checkpoint):
  networks = store.open_bundle(nano_checkpoint)

  def use():
    asked = requests.parse([f"{file}:0.5"])
    requests.apply(networks, asked)
    return asked[0].found.lora

  ends = fuzzing.fuzz(
    _mishaps(file),
    file,
    use,
    lambda lora: _assert_read_right(file, lora),
    count=count,
  )
  assert ends["refused"] > count // 3


@pytest.mark.slow
@pytest.mark.parametrize("count", fuzzing.COUNTS)
def test_the_command(count, file, tmp_path):
  """`more4d convert` writes a LoRA that reads as the damaged one, or none."""
  written = tmp_path / "bundle" / "loras" / "vism.safetensors"

  def use():
    written.unlink(missing_ok=True)
    arguments = [
      "convert",
      "--from",
      str(file),
      "--to",
      str(written.parents[1]),
    ]
    return fuzzing.command(arguments)

  def right(printed):
    assert "a LoRA of" in printed
    _assert_read_right(file, dialects.load(written).lora)

  ends = fuzzing.fuzz(_mishaps(file), file, use, right, count=count)
  assert ends["refused"] > count // 3
  assert not list(tmp_path.rglob("*.partial"))
