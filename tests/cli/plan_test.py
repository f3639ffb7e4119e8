"""`more4d plan`: what it prints, and mistakes in its flags."""

import json

import jax
import pytest

from more4d_jax import errors
from more4d_jax.cli import main, plan
from more4d_jax.planning import devices, programs, report, search


def _refused(*arguments):
  with pytest.raises(errors.UserError) as caught:
    main.parse(["plan", *arguments])()
  return str(caught.value)


_NANO = ("--config", "configs/depth.py:size=nano")


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    ((*_NANO, "--devices", "v9-8"), "expected one of v5e"),
    ((*_NANO, "--devices", "cpu-8", "--mesh", "rows=2"), "--mesh has 'rows=2'"),
    (
      (*_NANO, "--devices", "cpu-8", "--mesh", "tensor=3"),
      "does not cover 8 devices",
    ),
    (
      (*_NANO, "--devices", "cpu-8", "--set", "batch_size=12"),
      "batch_size is 12, but",
    ),
    (
      (*_NANO, "--devices", "cpu-8", "--set", "optimizer.learning_rte=1"),
      "unknown config field 'optimizer.learning_rte'",
    ),
    (("--devices", "cpu-8"), "expected --config for a training, or --size"),
    (
      (*_NANO, "--size", "nano", "--devices", "cpu-8"),
      "found --config and --size",
    ),
    (
      (*_NANO, "--devices", "cpu-8", "--offload"),
      "--offload changes nothing here",
    ),
    (
      ("--size", "nano", "--devices", "cpu-8", "--search"),
      "--search changes nothing here",
    ),
    (("--size", "huge", "--devices", "cpu-8"), "choose one of nano, tiny"),
    (
      ("--size", "nano", "--devices", "cpu-8", "--dtype", "int4"),
      "int4",
    ),
    (("--checkpoint", "none", "--devices", "cpu-8"), "more4d bundle"),
    (
      ("--config", "configs/nowhere.py", "--devices", "cpu-8"),
      "configs/nowhere.py",
    ),
  ],
)
def test_mistakes_are_one_line(arguments, message):
  found = _refused(*arguments)
  assert message in found and "\n" not in found


def test_a_configuration_is_read_as_by_the_trainer():
  config = plan.read_config(
    "configs/depth.py:size=nano", ["batch_size=24", "optimizer.clip=0.5"]
  )
  assert (config.batch_size, config.optimizer.clip) == (24, 0.5)
  assert plan.parse_mesh("tensor=2,data=4") == plan.partitioning.MeshConfig(
    data=4, fsdp=-1, tensor=2
  )


@pytest.mark.slow  # Compiles a train step.
def test_a_step_is_planned(tmp_path, capsys):
  out = tmp_path / "plan.json"
  arguments = [*_NANO, "--devices", "cpu-8", "--mesh", "data=2,fsdp=4"]
  assert main.main(["plan", *arguments, "--out", str(out)]) == 0
  printed = capsys.readouterr().out
  (found,) = json.loads(out.read_text())["plans"]
  assert "mesh data 2 x fsdp 4 x context 1 x tensor 1" in printed
  held = found["held"]
  # Moments of AdamW beside a count, in float32 as the parameters.
  assert 0 <= held["optimizer"] - 2 * held["parameters"] < 64
  assert held["averaged parameters"] == held["parameters"]
  assert found["fits"] and f"fits: {report.gib(found['together'])}" in printed
  assert found["traffic"]["all-gather"]["bytes"] > 0


def _candidate(label, held, cost, needed):
  """A way to run a program whose step takes `held` seconds."""
  kind = devices.Kind("chip", "cpu", 100, peak=1 / report.UTILISATION)
  figures = programs.Figures(
    held={"parameters": held},
    operations=float(held),
    seconds=0.0,
    host_bytes=0,
    temporaries=needed - held,
  )
  made = report.Plan(label, devices.Group("chip-1", kind, 1), figures)
  return search.Candidate(label, held, (cost,), lambda: made)


def test_a_search_compiles_what_may_fit_and_sorts_by_time():
  tried = []
  ways = [
    _candidate("too much held", 95, 0, 95),
    _candidate("slow", 60, 1, 90),
    _candidate("large", 50, 2, 120),
    _candidate("fast", 40, 3, 70),
    _candidate("late", 30, 4, 50),
  ]
  found = search.best(ways, 100, tries=3, say=tried.append)
  assert [plan.title for plan in found] == ["fast", "slow"]
  assert [line.partition(":")[0] for line in tried[1:]] == [
    "slow",
    "large",
    "fast",
  ]
  with pytest.raises(errors.UserError, match="none of 1 compiled programs"):
    search.best(ways[2:3], 100, tries=3, say=tried.append)


def test_what_cannot_fit_is_refused_before_it_is_compiled():
  message = _refused(
    "--config", "configs/strag.py:size=14b", "--devices", "v5e-1", "--search"
  )
  assert "nothing fits: what has to be held is" in message
  assert "a device has 15.75" in message
  assert jax.device_count() == 8
