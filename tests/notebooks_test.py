"""The notebooks run at size nano, with their parameters replaced."""

import pathlib

import nbclient
import nbformat
import pytest

pytestmark = pytest.mark.slow

_COLAB = pathlib.Path(__file__).parents[1] / "colab"


def _run(name: str, parameters: dict[str, object], folder: pathlib.Path):
  """Executes a notebook in `folder` after replacing its parameters."""
  notebook = nbformat.read(_COLAB / f"{name}.ipynb", as_version=4)
  [cell] = [
    cell
    for cell in notebook.cells
    if "parameters" in cell.metadata.get("tags", [])
  ]
  known = {line.partition(" = ")[0] for line in cell.source.splitlines()}
  assert set(parameters) <= known
  cell.source += "".join(f"\n{k} = {v!r}" for k, v in parameters.items())
  client = nbclient.NotebookClient(
    notebook, timeout=600, resources={"metadata": {"path": str(folder)}}
  )
  client.execute()
  return notebook


def test_image_to_4d(nano_run: pathlib.Path, tmp_path: pathlib.Path):
  _run(
    "image_to_4d",
    {
      "CHECKPOINT": str(nano_run / "bundle"),
      "CAMERAS": ["static"],
      "STEPS": 2,
      "OUT": str(tmp_path / "out"),
    },
    tmp_path,
  )
  names = {path.name for path in (tmp_path / "out").iterdir()}
  assert names == {"scene.npz", "scene.html"}


def test_train_tiny(nano_run: pathlib.Path, tmp_path: pathlib.Path):
  # The recipe is finished, so the notebook finds and shows its results.
  notebook = _run(
    "train_tiny", {"RECIPE": "nano", "OUT": str(nano_run)}, tmp_path
  )
  shown = [
    output for cell in notebook.cells for output in cell.get("outputs", [])
  ]
  assert any("image/png" in output.get("data", {}) for output in shown)
