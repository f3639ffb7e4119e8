"""The `more4d` command itself: help, mistakes, exit status, start-up."""

import re
import subprocess
import sys
import time
import types

import pytest

from more4d_jax import errors
from more4d_jax.cli import main


def _run(capsys, *arguments):
  status = main.main(arguments)
  printed = capsys.readouterr()
  return status, printed.out, printed.err


def test_help_names_every_command(capsys):
  status, out, _ = _run(capsys, "--help")
  assert status == 0
  assert all(name in out for name in main.COMMANDS)
  assert _run(capsys)[1] == out


def test_help_groups_commands(capsys):
  out = _run(capsys, "--help")[1]
  headings = [line[:-1] for line in out.splitlines() if line.endswith(":")]
  assert len(headings) > 2
  assert headings == list(
    dict.fromkeys(command.group for command in main.COMMANDS.values())
  )


def test_parse_checks_and_does_nothing(monkeypatch):
  done = []

  def function(*, number: int) -> None:
    done.append(number)

  _module(monkeypatch, function)
  call = main.parse(["fake", "--number", "3"])
  assert not done
  call()
  assert done == [3]


def test_version(capsys):
  assert _run(capsys, "--version")[1].strip() == "0.1.0"


def test_unknown_command_is_one_line(capsys):
  status, out, err = _run(capsys, "generat")
  assert status == 2 and not out
  assert err.startswith("error: ") and err.count("\n") == 1
  assert "generate" in err


@pytest.mark.parametrize("name", main.COMMANDS)
def test_every_command_has_help(name):
  assert main.main([name, "--help"]) == 0


def _module(monkeypatch, function):
  fake = types.ModuleType("more4d_jax.cli.fake")
  fake.function = function
  monkeypatch.setitem(sys.modules, "more4d_jax.cli.fake", fake)
  command = main.Command("fake", "function", "group", "help")
  monkeypatch.setattr(main, "COMMANDS", {"fake": command})


@pytest.mark.parametrize(
  "error",
  [
    errors.UserError("expected a,\nfound b"),
    FileNotFoundError("no such file"),
    NotADirectoryError(20, "Not a directory", "out/x"),
    FloatingPointError("not finite"),
    ModuleNotFoundError("x", name="viser"),
  ],
)
def test_a_mistake_is_one_line_and_status_2(monkeypatch, capsys, error):
  def function(*, number: int = 1) -> None:
    raise error

  _module(monkeypatch, function)
  status, _, err = _run(capsys, "fake", "--number", "3")
  assert status == 2
  assert err.startswith("error: ") and err.count("\n") == 1


@pytest.mark.parametrize(
  ("arguments", "words"),
  [
    (("--number", "x"), "x"),
    (("--nomber", "3"), "--nomber"),
    ((), "--number"),
  ],
)
def test_a_mistake_in_a_flag_is_one_line(monkeypatch, capsys, arguments, words):
  def function(*, number: int) -> None:
    del number

  _module(monkeypatch, function)
  status, _, err = _run(capsys, "fake", *arguments)
  assert status == 2
  assert err.startswith("error: ") and err.count("\n") == 1
  assert words in err and "--help" in err


def test_our_own_bugs_are_not_hidden(monkeypatch):
  def function() -> None:
    raise KeyError("bug")

  _module(monkeypatch, function)
  with pytest.raises(KeyError):
    main.main(["fake"])


def test_groups_have_their_own_commands(monkeypatch, capsys):
  seen = []

  def make(*, count: int) -> None:
    """Makes things."""
    seen.append(count)

  _module(monkeypatch, {"make": make})
  assert main.main(["fake", "make", "--count", "4"]) == 0 and seen == [4]
  assert "Makes things." in _run(capsys, "fake")[1]
  assert _run(capsys, "fake", "nope")[0] == 2


def test_help_is_fast_and_loads_nothing():
  code = (
    "import sys; from more4d_jax.cli import main; main.main(['--help']);"
    "print(sorted({'jax', 'numpy', 'tyro'} & set(sys.modules)))"
  )
  start = time.process_time()
  done = subprocess.run(
    [sys.executable, "-c", code], capture_output=True, text=True, check=True
  )
  assert done.stdout.strip().endswith("[]"), done.stdout
  assert time.process_time() - start < 2


@pytest.mark.parametrize(
  "arguments",
  [
    ("bundle", "--workdir", "gs://bucket/run", "--out", "there"),
    ("generate", "--checkpoint=s3://bucket/model", "--image", "a.png"),
    ("data", "make", "--out", "gs://bucket/records"),
  ],
)
def test_buckets_are_not_taken_for_folders(
  capsys, tmp_path, monkeypatch, arguments
):
  monkeypatch.chdir(tmp_path)
  status, _, err = _run(capsys, *arguments)
  assert status == 2
  assert re.match(r"error: an argument of more4d \w+ is (gs|s3)://bucket/", err)
  assert "which is not on this machine: mount it, or copy it here" in err
  assert not list(tmp_path.iterdir())
  main._check_places(["score", "vlm", "--endpoint", "https://host/v1"])
  main._check_places(["generate", "--prompt", "a:// sign that turns"])
