"""`more4d data cache`: killed and started again, in shares, and refused."""

import signal
import subprocess
import sys
import time

import pytest

from data_pipelines.trajscene import generation, make
from more4d_jax.checkpoints import store
from more4d_jax.cli import main
from more4d_jax.models import latent_stats, variants
from tests import nano_bundle

_NANO = variants.get("nano")
_EXAMPLES = 4 * 40  # Three parts.


@pytest.fixture(scope="module", name="arguments")
def _arguments(tmp_path_factory):
  """Of the command, but for --out."""
  root = tmp_path_factory.mktemp("inputs")
  records = make.make_records(
    make.MakeOptions(
      str(root / "records"),
      generation.SceneOptions(5, frames=5, height=32, width=64, light=True),
      processes=1,
      progress=False,
    )
  )
  metadata = nano_bundle.metadata_of(_NANO, "motion_vae")
  metadata["base_latent_stats"] = latent_stats.identity(16).to_json()
  store.save_network(
    root / "motion_vae" / "model",
    nano_bundle.params_of(_NANO, "motion_vae"),
    _NANO.motion_vae,
    {**metadata, "identity": "motion_vae"},
  )
  return [
    "data", "cache", "--config", "configs/strag.py:size=nano", "--set",
    f"data.records={records}", "data.num_held_out=1", "data.random_crop=True",
    "data.variants=40", f"init_from.motion_vae={root / 'motion_vae'}",
    "model.train_text_encoder=False", "model.train_motion_encoder=False",
  ]  # fmt: skip


def _files(out):
  return {
    str(path.relative_to(out)): path.read_bytes()
    for path in out.rglob("*")
    if path.is_file()
  }


@pytest.fixture(scope="module", name="whole")
def _whole(arguments, tmp_path_factory):
  """The files of a command that nothing stopped."""
  out = tmp_path_factory.mktemp("whole")
  assert main.main([*arguments, "--out", str(out)]) == 0
  found = _files(out)
  assert len(found) == 2 * (3 + 1)  # Of training, and one held-out record.
  return found


def _killed_at(arguments, out, reached):
  """Starts the command and kills it when its folder has a file."""
  process = subprocess.Popen(
    [sys.executable, "-m", "more4d_jax.cli.main", *arguments],
    stdout=subprocess.DEVNULL,
    stderr=subprocess.DEVNULL,
  )
  while process.poll() is None and not any(out.rglob(reached)):
    time.sleep(0.005)
  process.send_signal(signal.SIGKILL)
  assert process.wait() == -signal.SIGKILL


@pytest.mark.parametrize(
  "moments",
  [
    pytest.param(["part-00001.json"], marks=pytest.mark.slow),
    pytest.param(
      ["part-00000.*.partial", "part-00000.bin", "part-00001.*.partial",
       "part-00002.*.partial"],
      marks=pytest.mark.long,
    ),
  ],
)  # fmt: skip
def test_killed_and_started_again(arguments, whole, tmp_path, moments):
  command = [*arguments, "--out", str(tmp_path)]
  for reached in moments:
    _killed_at(command, tmp_path, reached)
    finished = {n: v for n, v in _files(tmp_path).items() if n.endswith("json")}
    assert finished.items() <= whole.items()
  assert main.main(command) == 0
  assert _files(tmp_path) == whole


@pytest.mark.slow
def test_shares_and_repairs_give_the_same_files(
  arguments, whole, tmp_path, capsys
):
  command = [*arguments, "--out", str(tmp_path)]
  assert main.main([*command, "--share", "2/2"]) == 0
  assert set(_files(tmp_path)) < set(whole)
  assert main.main([*command, "--share", "1/2"]) == 0
  assert _files(tmp_path) == whole
  printed = capsys.readouterr().out
  assert "strag nano, 5x32x48: at most" in printed
  assert f"{_EXAMPLES} examples; 96 made in" in printed
  name = next(name for name in whole if name.endswith("00001.bin"))
  path = tmp_path / name
  path.write_bytes(path.read_bytes()[:-1])
  assert main.main(command) == 0
  assert "nothing was missing of this share" in capsys.readouterr().out
  assert main.main([*command, "--check"]) == 0
  assert "64 made in" in capsys.readouterr().out
  assert _files(tmp_path) == whole


def test_bytes_are_printed_before_anything_is_read(tmp_path, capsys):
  command = [
    "data", "cache", "--config", "configs/strag.py:size=14b", "--dry-run",
    "--out", str(tmp_path / "cache"),
  ]  # fmt: skip
  assert main.main(command) == 0
  printed = capsys.readouterr().out
  latent = 13 * 46 * 64 * 16 * 2  # In half precision.
  assert f"motion_mean          13 x 46 x 64 x 16  float16  {latent:12,d}" in (
    printed
  )
  features = (512 + 1) * 4096 + 257 * 1280 + 14 * 14 * 768
  total = 4 * latent + latent // 13 + 2 * features
  assert f"49x368x512: at most {total:,d} bytes an example" in printed
  assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
  ("changed", "expected"),
  [
    (["--share", "3/2"], "--share is '3/2': expected K/N with K from 1 to N"),
    (
      ["--set", "data.conditions=online", "data.variants=1"],
      "with data.conditions=cached",
    ),
    (["--set", "data.records=nowhere"], "nowhere"),
  ],
)
def test_mistakes_are_one_line(arguments, tmp_path, capsys, changed, expected):
  command = [*arguments, "--out", str(tmp_path / "cache"), *changed]
  _assert_refused(command, expected, capsys)


def test_a_task_that_reads_records_as_they_are(tmp_path, capsys):
  command = ["data", "cache", "--config", "configs/depth.py:size=nano"]
  command += ["--out", str(tmp_path)]
  _assert_refused(command, "trains on records as they are", capsys)


def _assert_refused(command, expected, capsys):
  assert main.main(command) == 2
  printed = capsys.readouterr().err.strip()
  assert printed.startswith("error: ") and "\n" not in printed
  assert expected in printed
