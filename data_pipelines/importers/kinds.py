"""The table of what can be imported."""

from collections.abc import Mapping
from types import ModuleType

from data_pipelines.importers import (
  delta,
  dynamic_replica,
  film,
  kubric,
  plain,
  pointodyssey,
  stereo4d,
  tapip3d,
  tapvid3d,
  trajscene,
)
from data_pipelines.tracking import films
from more4d_jax import errors

_MODULES: Mapping[str, ModuleType] = {
  "trajscene": trajscene,
  "delta": delta,
  "tapip3d": tapip3d,
  "spatialtracker": tapip3d,
  "kubric": kubric,
  "pointodyssey": pointodyssey,
  "dynamic_replica": dynamic_replica,
  "tapvid3d": tapvid3d,
  "stereo4d": stereo4d,
  "npz": plain,
  "video": film,
  "track": films,
}
"""Kind -> module with `units`, `found` and `ABOUT`; its docstring states the
layout and the conventions."""

NAMES = tuple(_MODULES)


def module(kind: str) -> ModuleType:
  """The importer of a kind.

  Raises:
    UserError: there is none; lists what there is.
  """
  if kind not in _MODULES:
    raise errors.UserError(
      f"no importer {kind!r}; there are {', '.join(_MODULES)}"
    )
  return _MODULES[kind]


def table() -> str:
  """One line per kind for --help."""
  width = max(map(len, NAMES))
  return "\n".join(
    f"{name:<{width}}  {found.ABOUT}" for name, found in _MODULES.items()
  )
