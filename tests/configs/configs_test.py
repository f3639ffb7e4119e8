"""Every config builds by shape alone and shards over 8 devices."""

import importlib
import math
import pathlib
import subprocess
import sys

import jax
import pytest

from configs import common
from more4d_jax import errors, partitioning, registry
from more4d_jax.cli import flag_errors
from more4d_jax.experiment import (
  building,
  config_reader,
  model_config,
  run,
)
from more4d_jax.sampling import (
  sampler_options,
)
from more4d_jax.training import paths
from tests import doc_commands_test

ROOT = pathlib.Path(__file__).parents[2]
ABLATIONS = sorted(
  path.stem
  for path in (ROOT / "configs" / "ablations").glob("*.py")
  if path.stem != "__init__"
)


def _config(name, text):
  config = importlib.import_module(f"configs.{name}").get_config(text)
  config.lock()
  return config


def _task(config):
  return run.make_task(config_reader.read(config))


def _abstract(task):
  return jax.eval_shape(lambda: task.objective().init(jax.random.key(0)))


def _check(task):
  """Every parameter fits the mesh; large ones are really divided."""
  abstract = _abstract(task)
  trained, _ = paths.split(abstract, task.trainable)
  assert jax.tree.leaves(partitioning.unbox(trained))
  mesh = partitioning.make_mesh(partitioning.MeshConfig(fsdp=4, tensor=2))
  place = jax.tree.leaves(partitioning.shardings(mesh, abstract))
  shapes = jax.tree.leaves(partitioning.unbox(abstract))
  whole = local = 0
  for leaf, sharding in zip(shapes, place, strict=True):
    piece = sharding.shard_shape(leaf.shape)
    whole += leaf.size
    local += math.prod(piece)
  return whole / local


@pytest.mark.parametrize("name", list(registry.NETWORKS))
@pytest.mark.parametrize("size", ["nano", "tiny", "small"])
def test_task_builds_and_shards(name, size):
  task = _task(_config(name, f"size={size}"))
  assert _check(task) > 1.5


@pytest.mark.slow  # Tracing the published widths takes seconds each.
@pytest.mark.parametrize("name", list(registry.NETWORKS))
@pytest.mark.parametrize("size", ["1p3b", "14b"])
def test_published_size_builds_and_shards(name, size):
  task = _task(_config(name, f"size={size}"))
  # Nearly all of a transformer lies on axes that both mesh axes divide.
  assert _check(task) > (4 if name in ("strag", "vism") else 1.5)


@pytest.mark.parametrize("name", ABLATIONS)
def test_ablation_is_its_baseline_but_for_its_fields(name):
  config = _config(f"ablations.{name}", "size=nano")
  base = _config(config.task, "size=nano")
  mine, other = (_flat(c) for c in (config, base))
  assert set(mine) == set(other)
  (changed,) = [field for field in mine if mine[field] != other[field]]
  ours, theirs = _task(config), _task(base)
  if changed == "model.train_motion_encoder":
    assert ours.trainable != theirs.trainable
  elif changed.startswith("model"):
    assert ours.network != theirs.network


def _flat(config):
  return dict(config_reader.flat(config_reader.read(config)))


@pytest.mark.parametrize("task", ["motion_vae", "strag"])
def test_normalisations_have_the_names_of_the_paper(task):
  found = [
    _config("ablations.normalisation", f"size=nano,task={task},mode={mode}")
    for mode in ("min_max", "none")
  ]
  assert [config.task for config in found] == [task, task]
  assert [config.motion.normalisation for config in found] == [
    "first_frame_range",
    "displacement",
  ]
  with pytest.raises(ValueError, match="mode=depth: choose min_max or"):
    _config("ablations.normalisation", "size=nano,mode=depth")


@pytest.mark.parametrize("size", ["1p3b", "14b"])
def test_published_sizes_have_the_recipes_of_the_paper(size):
  """Steps, batch of four devices, seed, records and checkpoints."""
  found = {}
  for name in ("motion_vae", "strag", "vism"):
    config = _config(name, f"size={size}")
    kept = config.checkpoint.every, config.checkpoint.keep
    found[name] = (
      config.num_steps,
      config.batch_size,
      config.seed,
      config.data.limit,
      *kept,
      config.optimizer.learning_rate,
      config.optimizer.weight_decay,
      config.optimizer.clip,
      config.optimizer.warmup_steps,
    )
    assert config.optimizer.ema_decay == 0
  assert found == {
    "motion_vae": (5_000, 4, 40, 0, 200, 3, 5e-6, 1e-2, 1.0, 100),
    "strag": (2_000, 12, 42, 6_000, 50, 5, 2e-5, 3e-2, 0.05, 100),
    "vism": (10_000, 8, 42, 0, 100, 5, 1e-4, 3e-2, 0.05, 0),
  }


def test_ablations_change_the_network_as_they_say():
  def network(name):
    task = _task(_config(f"ablations.{name}", "size=nano"))
    return task.network

  assert network("without_motion_perception").motion is None
  assert network("without_depth_latents").dit.in_channels == 48
  assert network("global_motion_feature").motion_feature == "global"


@pytest.mark.parametrize("name", list(registry.NETWORKS))
def test_no_field_is_without_a_reader(name):
  """Each leaf is named in the sources, or belongs to a whole section."""
  sources = "\n".join(
    path.read_text()
    for path in (ROOT / "more4d_jax" / "experiment").glob("*.py")
  )
  whole = ("optimizer", "memory", "mesh", "flow", "dropout", "loss", "augment")
  for section, value in _config(name, "size=nano").to_dict().items():
    if section in (*whole, "sampling", "init_from"):
      continue
    for field in value if isinstance(value, dict) else [section]:
      assert f".{field}" in sources, f"{section}.{field} is read nowhere"


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"optimizer.schedule": "steps"}, "optimizer.schedule"),
    ({"optimizer.learning_rate": -1.0}, "optimizer.learning_rate is -1"),
    ({"optimizer.clip": float("nan")}, "optimizer.clip is nan"),
    ({"flow.sampling": "often"}, "flow.sampling"),
    ({"flow.weighting": "heavy"}, "flow.weighting"),
    ({"num_steps": 0}, "num_steps is 0"),
    ({"sampling.sampler": "heun"}, "sampling: expected a sampler of euler"),
    ({"sampling.cfg_skip": 2.0}, "sampling: expected a cfg_skip of 0 to 1"),
    ({"sampling.riflex": 99}, "sampling: expected riflex of 0 to 4"),
  ],
)
def test_wrong_values_are_one_clear_line(changes, message):
  config = _config("strag", "size=nano")
  with config.unlocked():
    config.update_from_flattened_dict(changes)
  with pytest.raises(errors.UserError, match=message) as caught:
    _task(config)
  assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("name", ["strag", "vism"])
@pytest.mark.parametrize(
  "field", ["attention", "context_attention", "norm_rotary"]
)
def test_unknown_attention_is_one_clear_line(name, field):
  config = _config(name, "size=nano")
  config.model[field] = "flash"
  with pytest.raises(errors.UserError, match=f"model.{field} is 'flash'"):
    _task(config)


@pytest.mark.parametrize(
  "fields, mesh, message",
  [
    ({"attention": "mosaic_tpu"}, {}, "attention is 'mosaic_tpu', which takes"),
    ({"attention": "cudnn"}, {}, "takes NVIDIA GPUs, not cpu: choose auto"),
    ({"norm_rotary": "mosaic_gpu"}, {}, "norm_rotary is 'mosaic_gpu', which"),
    ({"attention": "xla"}, {"context": 2, "tensor": 4}, "ring .* 'xla'"),
    (
      {"context_attention": "ulysses"},
      {"context": 4, "tensor": 2},
      "heads of a device by 4, .* found 2 heads",
    ),
    ({}, {"tensor": 8}, "tensor is 8, which does not divide the 4 heads"),
    ({"attention": "xla"}, {"tensor": 4, "data": 2}, None),
    ({"context_attention": "ulysses"}, {"context": 4, "data": 2}, None),
  ],
)
def test_kernels_and_heads_that_do_not_suit_the_devices_are_one_clear_line(
  fields, mesh, message
):
  config = _config("strag", "size=nano")
  config.model.update(fields)
  layer = _task(config).network.dit.layer
  mesh = partitioning.make_mesh(
    partitioning.MeshConfig(**(mesh or {"data": 8}))
  )
  if message is None:
    building.check_kernels(layer, mesh)
    return
  with pytest.raises(errors.UserError, match=message) as caught:
    building.check_kernels(layer, mesh)
  assert len(str(caught.value).splitlines()) == 1


def test_a_finished_network_does_not_name_the_kernels_of_its_machine():
  config = _config("vism", "size=nano")
  config.model.update(
    {
      "attention": "mosaic_tpu",
      "norm_rotary": "mosaic_tpu",
      "context_attention": "ulysses",
    }
  )
  network = _task(config).network
  plain = _task(_config("vism", "size=nano")).network
  assert network != plain
  assert model_config.portable(network) == plain


@pytest.mark.parametrize("alpha", ["1.0", "wide", "1,2,3"])
def test_wrong_motion_is_one_clear_line(alpha):
  config = _config("motion_vae", "size=nano")
  config.motion.alpha = alpha
  with pytest.raises(errors.UserError, match=r"motion\.alpha"):
    config_reader.read(config).motion.read()
  config.motion.alpha = "1.04,1"
  assert config_reader.read(config).motion.read().fixed_alpha == (1.04, 1.0)
  config.motion.normalisation = "by_eye"
  with pytest.raises(errors.UserError, match="by_eye"):
    config_reader.read(config).motion.read()


def test_sampling_has_the_shift_of_training_unless_told():
  config = _config("vism", "size=nano")
  config.flow.shift = 3.0
  assert config_reader.read(config).sampler["shift"] == 3
  config.sampling.update({"shift": 4.0, "sampler": "unipc", "teacache": 0.1})
  sampler = config_reader.read(config).sampler
  found = sampler_options.SamplerConfig(**sampler)
  assert (found.shift, found.sampler, found.teacache) == (4, "unipc", 0.1)


def test_arguments_of_a_config_file():
  assert common.arguments("size=nano", size="tiny") == {"size": "nano"}
  assert common.arguments(None, size="tiny") == {"size": "tiny"}
  with pytest.raises(ValueError, match="unknown size 'huge'"):
    common.arguments("size=huge", size="tiny")
  with pytest.raises(ValueError, match="unknown argument 'sise'"):
    common.arguments("sise=nano", size="tiny")


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    (["--config=configs/strag.py:size=nano", "--config.nosuch=1"], "'nosuch'"),
    (
      [
        "--config=configs/strag.py:size=nano",
        "--config.optimizer.learning_rte=1",
      ],
      "field 'optimizer.learning_rte': did you mean 'optimizer.learning_rate'",
    ),
    (
      ["--config=configs/strag.py:size=nano", "--config.learning_rte=1"],
      "field 'learning_rte': did you mean 'optimizer.learning_rate'",
    ),
    (["--config=configs/strag.py:size=huge"], "unknown size 'huge'"),
    (["--config=configs/nowhere.py"], "configs/nowhere.py"),
  ],
)
def test_mistakes_in_flags_are_described(arguments, message, monkeypatch):
  monkeypatch.chdir(ROOT)
  words = ["main.py", *arguments, "--mode=plan"]
  with pytest.raises(flag_errors.MISTAKES) as caught:
    doc_commands_test.parse_training(words)
  line = flag_errors.describe(caught.value, words)
  assert message in line and "\\" not in line and "\n" not in line


@pytest.mark.parametrize(
  ("size", "message"),
  [("huge", "unknown size 'huge'"), ("nano", "expected --workdir=DIR")],
)
def test_a_mistake_in_flags_ends_the_command_with_its_line(size, message):
  done = subprocess.run(
    [sys.executable, "main.py", f"--config=configs/strag.py:size={size}"],
    capture_output=True,
    text=True,
    check=False,
    cwd=ROOT,
  )
  assert done.returncode == 2
  (line,) = done.stderr.strip().splitlines()
  assert line.startswith(f"error: {message}")
