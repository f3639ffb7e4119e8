"""Which trackers there are: by name, or any Python function."""

import functools
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, UInt8

from data_pipelines import functions, libraries
from data_pipelines.importers import scene as scene_lib
from data_pipelines.tracking import cotracker, delta, optical_flow, tapir
from more4d_jax import errors

Tracker = Callable[
  [UInt8[np.ndarray, "T H W 3"]],
  tuple[Float[np.ndarray, "T H W 2"], Bool[np.ndarray, "T H W"]],
]
"""A film -> for each pixel of its first frame the positions (x, y) in pixels,
centres at + 0.5, and whether it is seen."""


class _Network(NamedTuple):
  """A tracker whose weights are a file: (video, weights) -> as `Tracker`."""

  track: Callable
  weights: str


BASELINE = "flow"
_TRACKERS: Mapping[str, Tracker] = {
  BASELINE: optical_flow.track,
  "cotracker3": cotracker.track,
}
_WITH_WEIGHTS: Mapping[str, _Network] = {
  "tapir": _Network(
    functools.partial(tapir.track, "tapir"), "tapir_checkpoint_panning.npy"
  ),
  "bootstapir": _Network(
    functools.partial(tapir.track, "bootstapir"), "bootstapir_checkpoint_v2.npy"
  ),
  "delta": _Network(delta.track, "densetrack2d.pth"),
}
HELP = (
  f"{', '.join((*_TRACKERS, *_WITH_WEIGHTS))}, or MODULE:FUNCTION (takes "
  "[T H W 3] uint8, returns [T H W 2] pixels and [T H W] bool for the pixels "
  "of the first frame)"
)


def find(name: str, weights: str | None = None) -> Tracker:
  """A tracker whose answers are checked.

  Args:
    name: see `HELP`.
    weights: file of its network, where its authors publish one.

  Raises:
    UserError: there is none of this name, or no such file.
  """
  tracker = _named(name, weights)

  def checked(video):
    answer = tracker(video)
    if not isinstance(answer, tuple) or len(answer) != 2:
      raise scene_lib.Refused(
        f"the tracker {name} gave {type(answer).__name__}; expected a pair of "
        "positions and visibility"
      )
    positions, visible = map(np.asarray, answer)
    lead = video.shape[:3]
    if positions.shape != (*lead, 2) or visible.shape != lead:
      raise scene_lib.Refused(
        f"the tracker {name} gave positions {positions.shape} and visibility "
        f"{visible.shape}; expected {(*lead, 2)} and {lead}"
      )
    return positions.astype(np.float64), visible.astype(bool)

  return checked


def _named(name: str, weights: str | None) -> Tracker:
  if name in _WITH_WEIGHTS:
    network = _WITH_WEIGHTS[name]
    if weights is None:
      raise errors.UserError(
        f"the tracker {name!r} needs --weights: the file {network.weights} "
        "that its authors publish"
      )
    libraries.weights_file(weights, f"the tracker {name!r}")
    return functools.partial(network.track, weights=weights)
  if weights is not None:
    raise errors.UserError(
      f"the tracker {name!r} takes no --weights; expected one of "
      f"{', '.join(_WITH_WEIGHTS)}"
    )
  if name in _TRACKERS:
    return _TRACKERS[name]
  if ":" not in name:
    raise errors.UserError(f"no tracker {name!r}; expected {HELP}")
  return functions.named(name, "tracker", HELP)
