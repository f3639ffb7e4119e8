"""The commands and Python of README, CONTRIBUTING and docs/ are real ones."""

import ast
import importlib.util
import pathlib
import re
import runpy
import shlex
import subprocess
import sys

import numpy as np
import PIL.Image
import pytest
from absl import flags
from ml_collections import config_flags

from more4d_jax import errors
from more4d_jax import scene as scene_lib
from more4d_jax.cli import flag_errors, main
from more4d_jax.geometry import camera_paths
from more4d_jax.viewing import video
from tests import repo_test

ROOT = repo_test.ROOT
PAGES = [
  path
  for path in repo_test.FILES
  if path.suffix == ".md"
  and path.relative_to(ROOT).parts[0]
  in ("README.md", "CONTRIBUTING.md", "docs")
]
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`([^`\n]+)`")
_ENTRY = (ROOT / "main.py").read_text()
_MODES = ast.literal_eval(
  re.search(r'"mode", "train", (\[.*?\])', _ENTRY).group(1)
)
_EXTRAS = set(
  re.findall(r'^    "(\w+)": ', (ROOT / "setup.py").read_text(), re.MULTILINE)
)
_TARGETS = set(
  re.search(r"^\.PHONY: ((?:.*\\\n)*.*)", (ROOT / "Makefile").read_text(), re.M)
  .group(1)
  .replace("\\\n", " ")
  .split()
)


def blocks(path, language):
  """The fenced blocks of a page that are in a language."""
  return [
    text for kind, text in _BLOCK.findall(path.read_text()) if kind == language
  ]


def commands(path, block=None):
  """The words of each command of a page, or of one of its blocks."""
  chosen = blocks(path, "sh") if block is None else [block]
  for text in chosen:
    for line in text.replace("\\\n", " ").splitlines():
      if words := shlex.split(line, comments=True):
        yield words


def parse_training(words):
  """Parses the arguments of main.py with its configuration.

  Raises: what `flag_errors.MISTAKES` names, for an unknown flag, file, size or
  field.
  """
  values = flags.FlagValues()
  config = config_flags.DEFINE_config_file(
    "config", flag_values=values, sys_argv=words
  )
  flags.DEFINE_string("workdir", None, "", flag_values=values)
  flags.DEFINE_enum("mode", "train", _MODES, "", flag_values=values)
  flags.DEFINE_string("devices", None, "", flag_values=values)
  flags.DEFINE_string("coordinator", None, "", flag_values=values)
  for name in ("process", "processes"):
    flags.DEFINE_integer(name, None, "", flag_values=values)
  rest = values(words)
  assert rest == words[:1], f"{rest[1:]} are no flags"
  config.value.lock()
  assert values["workdir"].value or values["mode"].value == "plan"


def _check_module(words):
  """A module that `python -m` runs, and the flags that it is given."""
  assert importlib.util.find_spec(words[0]) is not None
  done = subprocess.run(
    [sys.executable, "-m", words[0], "--help"],
    cwd=ROOT,
    capture_output=True,
    text=True,
    check=True,
  )
  for word in words[1:]:
    if word.startswith("--"):
      assert word.partition("=")[0] in done.stdout


def _check_script(path, words):
  """A script of the repository, whose text names the flags it is given."""
  text = path.read_text()
  for word in words:
    if word.startswith("--"):
      assert f'"{word.partition("=")[0]}"' in text


def _check_packages(words):
  for word in words:
    if found := re.fullmatch(r"(?:\.|more4d_jax)\[([\w,]+)\]", word):
      assert set(found.group(1).split(",")) <= _EXTRAS


def check(words):
  """Fails unless a command exists with the flags and targets it names."""
  match words:
    case ["more4d", *rest]:
      assert callable(main.parse(rest))
    case ["python", "main.py", *rest]:
      parse_training(["main.py", *rest])
    case ["python", "-m", *rest]:
      _check_module(rest)
    case ["python", script, *rest]:
      _check_script(ROOT / script, rest)
    case ["pip", "install", *rest]:
      _check_packages(rest)
    case ["make", *targets]:
      assert targets and set(targets) <= _TARGETS
    case ["bash", script, *_]:
      assert (ROOT / script).is_file()
    case _:
      raise AssertionError(f"no rule for the command {shlex.join(words)}")


@pytest.fixture(autouse=True)
def _at_the_root(monkeypatch):
  monkeypatch.chdir(ROOT)


@pytest.mark.parametrize(
  "path", PAGES, ids=lambda path: str(path.relative_to(ROOT))
)
def test_commands_exist(path):
  for words in commands(path):
    try:
      check(words)
    except (AssertionError, errors.UserError, *flag_errors.MISTAKES) as error:
      raise AssertionError(f"{shlex.join(words)}: {error}") from error


@pytest.mark.parametrize(
  "line",
  [
    "more4d generat --out x",
    "more4d render --scene s.npz --camera static --out v.mp4 --speed 3",
    "python main.py --config=configs/strag.py:size=tiny --workdir=w "
    "--config.model.no_such_field=1",
    "python main.py --config=configs/no_such_file.py --workdir=w",
    "make no-such-target",
    "pip install '.[nothing]'",
    "sudo rm -r x",
  ],
)
def test_mistakes_are_found(line):
  wrong = (AssertionError, errors.UserError, OSError, *flag_errors.MISTAKES)
  with pytest.raises(wrong):
    check(shlex.split(line))


def test_there_are_commands():
  found = [words for path in PAGES for words in commands(path)]
  assert len(found) > 30
  assert {words[0] for words in found} >= {"more4d", "python", "make", "pip"}


def _flags():
  """Every flag of every subcommand and of main.py."""
  from more4d_jax.cli import data, score

  names = {"--config", "--workdir", "--mode", "--help", "--version"}
  names |= {"--cases", "--reduced", "--repetitions"}  # Of a benchmark.
  groups = {"data": data.commands, "score": score.commands}
  calls = [[name] for name in main.COMMANDS if name not in groups]
  calls += [[group, name] for group, part in groups.items() for name in part]
  return names, calls


def test_inline_code_names_what_exists(capsys):
  names, calls = _flags()
  for call in calls:
    main.parse([*call, "--help"])
  names |= set(re.findall(r"--[a-z][a-z-]*", capsys.readouterr().out))
  wrong = []
  for path in PAGES:
    text = _BLOCK.sub("", path.read_text())
    for code in _INLINE.findall(text):
      if found := re.match(r"make ([\w-]+)", code):
        wrong += [code] * (found.group(1) not in _TARGETS)
      elif found := re.match(r"more4d ([a-z][\w-]*)", code):
        wrong += [code] * (found.group(1) not in main.COMMANDS)
      elif found := re.match(r"(--[a-z][a-z-]*)(?![\w.-])", code):
        wrong += [code] * (found.group(1) not in names)
  assert not wrong


def test_inline_fields_of_configurations_exist():
  from configs import depth, motion_vae, strag, video_vae, vism

  known = {
    field
    for module in (depth, motion_vae, strag, video_vae, vism)
    for field in _fields(module.get_config("size=tiny"))
  }
  wrong = [
    code
    for path in PAGES
    for code in _INLINE.findall(_BLOCK.sub("", path.read_text()))
    if (found := re.match(r"--config\.([\w.]+)", code))
    and found.group(1) not in known | {"FIELD"}
  ]
  assert not wrong


def _fields(config, prefix=""):
  for name, value in config.items():
    yield prefix + name
    if hasattr(value, "items"):
      yield from _fields(value, f"{prefix}{name}.")


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_python_compiles(path):
  import more4d_jax

  for text in blocks(path, "python"):
    tree = ast.parse(text)
    for node in ast.walk(tree):
      if isinstance(node, ast.Attribute) and ast.unparse(node.value) == (
        "more4d_jax"
      ):
        assert hasattr(more4d_jax, node.attr)


def test_all_camera_paths_are_named():
  text = (ROOT / "docs" / "camera_files.md").read_text()
  assert {name for name in camera_paths.NAMES if f"`{name}`" not in text} == (
    set()
  )


def _run(words):
  assert words[0] == "more4d"
  assert main.main(words[1:]) == 0, shlex.join(words)


@pytest.mark.slow  # Makes four scenes and a film of them.
def test_the_first_block_on_records_runs(tmp_path, monkeypatch):
  page = ROOT / "docs" / "records.md"
  monkeypatch.chdir(tmp_path)
  for words in commands(page, blocks(page, "sh")[0]):
    _run(words)
  assert (tmp_path / "records.mp4").is_file()
  assert (tmp_path / "stats.png").is_file()


def _scene(directory):
  """A still scene of nine frames, as `more4d generate` leaves it."""
  directory.mkdir()
  rows, columns = np.mgrid[:6, :8] + 0.5
  point = np.stack([(columns - 4) / 9, (rows - 3) / 9, np.ones((6, 8))], -1)
  scene_lib.Scene(
    tracks=np.repeat(point[None], 9, axis=0).astype(np.float32),
    visible=np.ones((9, 6, 8), bool),
    colours=np.full((6, 8, 3), 200, np.uint8),
    intrinsics=np.asarray([9.0, 9.0, 4.0, 3.0], np.float32),
    fps=8.0,
  ).save(directory / "scene.npz")


def test_the_camera_file_of_the_guide_renders(tmp_path, monkeypatch):
  page = ROOT / "docs" / "camera_files.md"
  monkeypatch.chdir(tmp_path)
  _scene(tmp_path / "out")
  for text in blocks(page, "python"):
    exec(compile(text, str(page), "exec"), {})
  for words in commands(page):
    _run(words)
  assert pathlib.Path("slide.mp4").is_file()


def test_the_picture_of_the_readme_can_be_drawn(tmp_path):
  _scene(tmp_path / "out")
  for name in ("left", "left_points"):
    frames = np.full((9, 64, 96, 3), 40 if name == "left" else 160, np.uint8)
    video.write_video(tmp_path / "out" / f"{name}.mp4", frames, 8.0)
  script = ROOT / "docs" / "images" / "make_result.py"
  module = runpy.run_path(str(script))
  out = tmp_path / "strip.png"
  module["main"](
    ["--results", str(tmp_path / "out"), "--camera", "left", "--out", str(out)]
  )
  picture = np.asarray(PIL.Image.open(out)).astype(int)
  assert picture.shape[0] == 256
  # The photograph at the left, the completed view at the right.
  assert np.abs(picture[128, 100] - 200).max() < 4
  assert np.abs(picture[128, -100] - 40).max() < 4


def test_doctor_runs(capsys):
  assert main.main(["doctor"]) == 0
  assert "cores" in capsys.readouterr().out
