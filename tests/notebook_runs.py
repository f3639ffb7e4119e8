"""Notebooks of colab/, executed with other parameters."""

import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import nbclient
import nbformat

FOLDER = pathlib.Path(__file__).parents[1] / "colab"
NAMES = sorted(path.stem for path in FOLDER.glob("*.ipynb"))


def read(name: str) -> nbformat.NotebookNode:
  """A notebook as it is stored."""
  return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def execute(
  name: str, parameters: Mapping[str, Any], folder: pathlib.Path
) -> nbformat.NotebookNode:
  """Executes a notebook in a folder after replacing its parameters."""
  notebook = read(name)
  [cell] = [
    cell
    for cell in notebook.cells
    if "parameters" in cell.metadata.get("tags", [])
  ]
  known = {line.partition(" = ")[0] for line in cell.source.splitlines()}
  tuples = {name for line in known for name in line.split(", ")}
  assert set(parameters) <= tuples
  cell.source += "".join(f"\n{k} = {v!r}" for k, v in parameters.items())
  client = nbclient.NotebookClient(
    notebook, timeout=900, resources={"metadata": {"path": str(folder)}}
  )
  client.execute()
  return notebook


def shown(notebook: nbformat.NotebookNode) -> Iterator[str]:
  """Kinds of what an executed notebook shows: "text/html", "image/png"."""
  for cell in notebook.cells:
    for output in cell.get("outputs", []):
      yield from output.get("data", {})
