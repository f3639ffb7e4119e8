"""The adapters on folders of other sizes, signs and cases than the original's.

Each folder is made here: its values come from closed forms, from a loop in
numpy, or from an invariance.
"""

import json

import numpy as np
import pytest
from safetensors import numpy as safetensors_numpy

from more4d_jax.models import backbone
from more4d_jax.name_maps import dit, matching
from more4d_jax.sampling import schedules
from tests.models import random_params
from tests.parity import runner
from tests.parity.adapters import (
  stated,
  training,
  trajectory_adaptors,
  wan_weights,
)

pytestmark = pytest.mark.slow

_BOUNDS = {
  "bound": {
    "schedulers": 1e-5,
    "stage1_glue": 1e-5,
    "trajectory_adaptors": 1e-5,
    "transformer3d_inp": 1e-5,
  },
  "gradient_bound": 1e-4,
  "images": {"keys": "nothing"},
  "diagnostic": [],
  "out_of_scope": {},
}


def _write(directory, name, config, io, weights=None):
  """Writes a folder and the bounds beside it; returns the folder."""
  (directory / "bounds.json").write_text(json.dumps(_BOUNDS))
  folder = directory / name
  folder.mkdir(exist_ok=True)
  (folder / "config.json").write_text(json.dumps(config))
  for file, arrays in (("io", io), ("weights", weights or {})):
    if arrays:
      whole = {k: np.array(v, order="C") for k, v in arrays.items()}
      safetensors_numpy.save_file(whole, folder / f"{file}.safetensors")
  return folder


def _last_line(directory, capsys):
  runner.run_directory(directory)
  found = capsys.readouterr()
  return found.out.splitlines()[-1] + found.err


def test_numbers_keep_their_signs():
  assert stated.numbers("= # \\* x ± #", "v = -0.3 * x - 2") == (-0.3, -2.0)
  assert stated.numbers("= # \\* x ± #", "v = 1e-3 * x + -.5") == (1e-3, -0.5)
  assert stated.sample("only the second sample, batch 1") == 1
  assert stated.padding("as main, seq_len = real tokens + 11 zeros") == 11
  with pytest.raises(ValueError, match="expected"):
    stated.numbers("k=#", "nothing of the kind")


@pytest.mark.parametrize(
  ("model", "rate", "size", "period"),
  [
    ("v(x, t) = -0.4 * x + 0.7 * sin(t / 500) * c", -0.4, 0.7, 500.0),
    ("v(x, t) = 0.25 * x - 1.5 * sin(t / 900.0) * c", 0.25, -1.5, 900.0),
    ("v(x, t) = 2e-1 * x + -0.1 * sin(t / 1e3) * c", 0.2, -0.1, 1000.0),
  ],
)
def test_a_model_of_any_sign(tmp_path, capsys, model, rate, size, period):
  generator = np.random.default_rng(0)
  x, c = generator.standard_normal((2, 2, 3, 2, 5, 1)).astype(np.float32)
  sigmas, times = schedules.noise_levels("euler", 4, 2.5, "compat")
  io, rows, latents = {"in.x0": x, "in.c": c}, [], x.astype(np.float64)
  for i, time in enumerate(np.asarray(times, np.float64)):
    velocity = rate * latents + size * np.sin(time / period) * c
    latents = latents + (sigmas[i + 1] - sigmas[i]) * velocity
    rows.append(latents)
  io["out.euler_s2.5_n4.trajectory"] = np.float32(rows)
  _write(tmp_path, "schedulers", {"fake_model": model}, io)
  assert _last_line(tmp_path, capsys) == "passed 1 failed 0 not-run 0"


@pytest.mark.parametrize(("asked", "made"), [(11, 9), (9, 9), (8, 5), (1, 1)])
def test_frames_come_in_groups_of_four(tmp_path, capsys, asked, made):
  generator = np.random.default_rng(1)
  colours = generator.integers(0, 255, (1, 3, 6, 10))
  recon = generator.standard_normal((1, 3, made, 6, 10))
  still = np.repeat((colours / 255)[:, :, None], made, axis=2)
  io = {
    # Colours are cut to 8 bits, so that half a step more changes none.
    "in.image": np.float32((colours + 0.5) / 255 * 2 - 1),
    "in.depth": np.float32(1 + generator.random((1, 1, 6, 10))),
    "in.recon": np.float32(recon),
    "out.control_video": np.float32(still),
    "out.num_frames": np.asarray(made),
  }
  _write(tmp_path, "stage1_glue", {"video_num_frames": asked}, io)
  assert _last_line(tmp_path, capsys) == "passed 2 failed 0 not-run 0"


def test_losses_of_any_shift_and_limit(tmp_path):
  generator = np.random.default_rng(2)
  shape = (2, 3, 2, 5, 4)
  latents, noise, prediction = generator.standard_normal((3, *shape))
  sigma = 1 - np.array([10, 700]) / 1000
  sigma = 2.5 * sigma / (1 + 1.5 * sigma)
  wide = sigma[:, None, None, None, None]
  error = (prediction - (noise - latents)) ** 2
  io = {
    "in.loss.latents": np.float32(latents),
    "in.loss.noise": np.float32(noise),
    "in.loss.prediction": np.float32(prediction),
    "in.loss.indices": np.array([10, 700]),
    "out.loss.s2.5.sigmas": sigma,
    "out.loss.s2.5_none_plain": error.mean(),
    "out.loss.s2.5_sigma_sqrt_plain": (error / wide**2).mean(),
    "out.loss.threshold1.5": np.where(error > 1.5**2, 0, error).mean(),
  }
  folder = _write(tmp_path, "training", {}, io)
  found = training.run(folder)
  for key, value in io.items():
    if key.startswith("out."):
      np.testing.assert_allclose(found[key], value, rtol=1e-5)


def _trajectory_weights(side, width, blocks, generator):
  """Random weights of one trajectory network, under the original's names."""
  level = {"encoder": "down", "decoder": "up"}[side]
  shapes = {"conv_in": (width, 3, 3, 3), "norm_out": (width,)}
  shapes["conv_out"] = (3, width, 3, 3)
  for i in range(blocks):
    for n in (1, 2):
      shapes[f"{level}.0.block.{i}.norm{n}"] = (width,)
      shapes[f"{level}.0.block.{i}.conv{n}"] = (width, width, 3, 3)
  weights = {}
  for name, shape in shapes.items():
    fan_in = np.prod(shape[1:])
    values = generator.standard_normal(shape) / np.sqrt(fan_in)
    weights[f"{name}.weight"] = np.float32(values)
    bias = 0.1 * generator.standard_normal(shape[0])
    weights[f"{name}.bias"] = np.float32(bias)
  return weights


def test_variants_without_gradients_and_with_vanishing_ones(tmp_path, capsys):
  generator = np.random.default_rng(3)
  weights, io = {}, {}
  # A group norm has 32 groups: in "narrow" each is one channel.
  for variant, side, width in (
    ("plain", "encoder", 64),
    ("narrow", "encoder", 32),
  ):
    own = _trajectory_weights(side, width, 1, generator)
    weights |= {f"{variant}/{side}/{k}": v for k, v in own.items()}
    io[f"in.{variant}.{side}"] = generator.standard_normal((1, 3, 2, 5, 4))
  io["in.narrow.r"] = generator.standard_normal((1, 3, 2, 5, 4))
  io = {key: np.float32(value) for key, value in io.items()}
  config = {"constructor": {"plain": {"ch": 64}, "narrow": {"ch": 32}}}
  folder = _write(tmp_path, "trajectory_adaptors", config, io, weights)
  found = trajectory_adaptors.run(folder)
  assert not any(key.startswith("grad.plain") for key in found)

  # The output is a sigmoid: the gradient of the last bias in closed form.
  output = np.asarray(found["out.narrow.encoder"])
  slope = output * (1 - output) * io["in.narrow.r"] / output.size
  prefix = "grad.narrow.encoder"
  io |= {
    f"out.{v}.encoder": found[f"out.{v}.encoder"] for v in config["constructor"]
  }
  io[f"{prefix}.conv_out.bias"] = slope.sum(axis=(0, 2, 3, 4))
  for name in ("conv_in", "down.0.block.0.conv1", "down.0.block.0.conv2"):
    # In exact arithmetic 0; what is stored is some other rounding.
    noise = 1e-9 * generator.standard_normal(32)
    io[f"{prefix}.{name}.bias"] = np.float32(noise)
  _write(tmp_path, "trajectory_adaptors", config, io, weights)
  assert _last_line(tmp_path, capsys) == "passed 6 failed 0 not-run 0"
  io[f"{prefix}.conv_in.bias"] += np.float32(1e-2)
  _write(tmp_path, "trajectory_adaptors", config, io, weights)
  assert _last_line(tmp_path, capsys) == "passed 5 failed 1 not-run 0"


def test_a_transformer_of_other_sizes_and_fewer_cases(tmp_path, capsys):
  generator = np.random.default_rng(4)
  config = backbone.DiTConfig(
    width=24,
    ffn_width=20,
    num_heads=2,
    num_layers=1,
    in_channels=12,
    out_channels=5,
    text_width=6,
    text_length=9,
    frequency_width=8,
    image_width=10,
    attention="reference",
    remat="none",
  )
  io = {
    "in.x": generator.standard_normal((4, 5, 2, 4, 6)),
    "in.y": generator.standard_normal((4, 7, 2, 4, 6)),
    "in.t": np.array([3.0, 250.0, 600.0, 999.0]),
    "in.clip_fea": generator.standard_normal((4, 257, 10)),
    **{
      f"in.context_{i}": generator.standard_normal((i + 2, 6)) for i in range(4)
    },
  }
  io = {key: np.float32(value) for key, value in io.items()}
  inputs = wan_weights.inputs(io, config)
  model = backbone.WanDiT(config)
  variables = random_params.draw(model, **inputs)
  main = wan_weights.channels_first(model.apply(variables, **inputs))
  io |= {"out.main": main, "out.single": main[2:3]}
  # Tokens that pad are masked, and change nothing.
  io["out.padded_keys_masked"] = main
  io["out.cfg_skip"] = np.concatenate([main[2:], main[2:]])
  shapes = matching.shapes_of(matching.flatten(variables["params"]))
  found = matching.match_params(dit.DIT, shapes)
  weights = matching.to_weights(found.with_head_dim(12), variables["params"])
  info = {
    "constructor": {"num_heads": 2, "text_len": 9, "eps": config.eps},
    "seq_len": 2 * 2 * 3,
    "cases": {
      "single": "third sample alone",
      "padded": "seq_len = real tokens + 7",
    },
  }
  _write(tmp_path, "transformer3d_inp", info, io, weights)
  assert _last_line(tmp_path, capsys) == "passed 4 failed 0 not-run 0"
