"""`more4d generate` killed without warning, started again, and finished."""

import json
import os
import signal
import subprocess
import sys

import numpy as np
import PIL.Image
import pytest

from tests import quick_compilation

_COUNT = 8
_NAMES = [f"p{number}" for number in range(1, _COUNT + 1)]


@pytest.fixture(scope="module")
def album(tmp_path_factory):
  folder = tmp_path_factory.mktemp("album")
  for number, name in enumerate(_NAMES):
    generator = np.random.default_rng(number)
    pixels = generator.integers(0, 256, (40, 60, 3), np.uint8)
    PIL.Image.fromarray(pixels).save(folder / f"{name}.png")
  return folder


def _command(checkpoint, image, out):
  return [
    sys.executable, "-u", "-m", "more4d_jax.cli.main", "generate",
    "--image", str(image), "--checkpoint", str(checkpoint), "--out", str(out),
    "--prompt", "left", "--camera", "static", "--steps", "1",
    "--scene-size", "model", "--holes", "background",
  ]  # fmt: skip


def _start(command):
  return subprocess.Popen(
    command,
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
    env={**os.environ, "XLA_FLAGS": quick_compilation.flags()},
  )


def _finish(command):
  process = _start(command)
  printed, _ = process.communicate()
  return process.returncode, printed


def _kill_at(command, name, words):
  """Kills the process when it says `words` of the scene `name`."""
  process = _start(command)
  for line in process.stdout:
    if f"{name}: {words}" in line:
      process.kill()
      break
  process.stdout.close()
  assert process.wait() == -signal.SIGKILL


def _scenes(out):
  return {p.parent.name: p.read_bytes() for p in out.glob("*/scene.npz")}


def _overview(out):
  return json.loads((out / "summary.json").read_text())


@pytest.fixture(scope="module")
def whole(nano_checkpoint, album, tmp_path_factory):
  """The scenes of a command that nothing stopped."""
  out = tmp_path_factory.mktemp("whole") / "out"
  status, printed = _finish(_command(nano_checkpoint, album, out))
  assert status == 0, printed
  assert set(_scenes(out)) == set(_NAMES)
  return _scenes(out)


_PLACES = [
  pytest.param(
    [("p4", "scene.npz")], id="before a film", marks=pytest.mark.slow
  ),
  pytest.param(
    [("p1", "'left'"), ("p3", "scene.npz"), ("p8", "static")],
    id="three times",
    marks=pytest.mark.long,
  ),
]


@pytest.mark.parametrize("places", _PLACES)
def test_killed_and_started_again(
  places, whole, nano_checkpoint, album, tmp_path
):
  out = tmp_path / "out"
  command = _command(nano_checkpoint, album, out)
  for name, words in places:
    _kill_at(command, name, words)
    made = set(_NAMES[: _NAMES.index(name)])
    assert made <= set(_scenes(out))
    assert _scenes(out).items() <= whole.items()
  status, printed = _finish(command)
  assert status == 0, printed
  last = _NAMES.index(places[-1][0])
  assert printed.count("is there already") >= last
  assert _scenes(out) == whole
  assert _overview(out)["scenes"] == _NAMES
  assert not list(out.glob("*.partial"))


# In short in generate_batches_test, within one process.
@pytest.mark.long
def test_the_third_picture_is_broken(whole, nano_checkpoint, album, tmp_path):
  broken = tmp_path / "broken"
  broken.mkdir()
  for picture in album.iterdir():
    (broken / picture.name).write_bytes(picture.read_bytes())
  half = (album / "p3.png").read_bytes()[:300]
  (broken / "p3.png").write_bytes(half)
  out = tmp_path / "out"
  status, printed = _finish(_command(nano_checkpoint, broken, out))
  assert status == 3
  assert printed.splitlines()[-1].startswith("error: 1 of 8 scenes failed: p3")
  assert list(_overview(out)["failed"]) == ["p3"]
  assert _scenes(out) == {k: v for k, v in whole.items() if k != "p3"}
