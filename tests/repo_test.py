"""What holds for every file of the repository."""

import ast
import json
import pathlib
import re
import subprocess

ROOT = pathlib.Path(__file__).parents[1]
_SKIPPED = {".git", ".venv", "runs", "build", "__pycache__", "node_modules"}
_TEXTS = {".py", ".md", ".toml", ".ipynb", ".yml", ".yaml", ".txt", ".cfg"}
_PALLAS = ("mosaic_tpu", "mosaic_gpu")
_MACHINE_PATHS = re.compile(r"(?<![\w.])/(home|work|root|Users|tmp)/[\w.]")


def _tracked():
  """Files that git knows or would add; without git, all but the skipped."""
  done = subprocess.run(
    ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
    cwd=ROOT,
    capture_output=True,
    text=True,
    check=False,
  )
  if done.returncode == 0:
    paths = [ROOT / line for line in done.stdout.splitlines()]
  else:
    paths = [
      p
      for p in ROOT.rglob("*")
      if not _SKIPPED & set(p.relative_to(ROOT).parts)
    ]
  return sorted(p for p in paths if p.is_file())


FILES = _tracked()
PYTHON = [p for p in FILES if p.suffix == ".py"]
TEXTS = [p for p in FILES if p.suffix in _TEXTS or p.name == "Makefile"]
NOTEBOOKS = [p for p in FILES if p.suffix == ".ipynb"]


def _name(path):
  return str(path.relative_to(ROOT))


def test_there_are_files():
  assert len(PYTHON) > 50


def test_python_compiles_and_is_short():
  long = []
  for path in PYTHON:
    text = path.read_text()
    compile(text, str(path), "exec")
    pallas = any(word in path.stem for word in _PALLAS)
    if len(text.splitlines()) > (700 if pallas else 400):
      long.append(_name(path))
  assert not long


def _is_long(function):
  body = function.body
  doc = body[0] if ast.get_docstring(function) else None
  lines = function.end_lineno - function.lineno + 1
  return lines - (doc.end_lineno - doc.lineno + 1 if doc else 0) > 60


def _is_broad(handler):
  names = ast.unparse(handler.type) if handler.type else "Exception"
  return "Exception" in re.findall(r"\w+", names)


def test_functions_are_short_and_catch_no_everything():
  found = []
  for path in PYTHON:
    if path.relative_to(ROOT).parts[0] not in ("more4d_jax", "data_pipelines"):
      continue
    for node in ast.walk(ast.parse(path.read_text())):
      if isinstance(node, ast.FunctionDef) and _is_long(node):
        found.append(f"{_name(path)}: {node.name} is longer than 60 lines")
      if isinstance(node, ast.ExceptHandler) and _is_broad(node):
        found.append(f"{_name(path)}:{node.lineno} catches every Exception")
  assert not found


def test_no_machine_paths():
  found = [
    f"{_name(path)}: {match.group()}"
    for path in TEXTS
    if path != pathlib.Path(__file__)
    and (match := _MACHINE_PATHS.search(path.read_text()))
  ]
  assert not found


def test_notebooks_carry_no_output():
  for path in NOTEBOOKS:
    for cell in json.loads(path.read_text())["cells"]:
      if cell["cell_type"] == "code":
        assert not cell["outputs"], _name(path)
        assert cell["execution_count"] is None, _name(path)


def test_top_level():
  for name in (
    "README.md",
    "LICENSE",
    "CONTRIBUTING.md",
    "setup.py",
    "main.py",
  ):
    assert (ROOT / name).is_file(), name
  assert "Apache License" in (ROOT / "LICENSE").read_text()
  assert len((ROOT / "main.py").read_text().splitlines()) <= 80
