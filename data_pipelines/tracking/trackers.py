"""Which trackers there are: by name, or any Python function."""

from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Bool, Float, UInt8

from data_pipelines import functions
from data_pipelines.importers import scene as scene_lib
from data_pipelines.tracking import cotracker, optical_flow
from more4d_jax import errors

Tracker = Callable[
  [UInt8[np.ndarray, "T H W 3"]],
  tuple[Float[np.ndarray, "T H W 2"], Bool[np.ndarray, "T H W"]],
]
"""A film -> for each pixel of its first frame the positions (x, y) in pixels,
centres at + 0.5, and whether it is seen."""

BASELINE = "flow"
_TRACKERS: Mapping[str, Tracker] = {
  BASELINE: optical_flow.track,
  "cotracker3": cotracker.track,
}
HELP = (
  f"{', '.join(_TRACKERS)}, or MODULE:FUNCTION (takes [T H W 3] uint8, returns "
  "[T H W 2] pixels and [T H W] bool for the pixels of the first frame)"
)


def find(name: str) -> Tracker:
  """A tracker whose answers are checked.

  Args:
    name: see `HELP`.

  Raises:
    UserError: there is none of this name.
  """
  if name not in _TRACKERS and ":" not in name:
    raise errors.UserError(f"no tracker {name!r}; expected {HELP}")
  tracker = _TRACKERS.get(name) or functions.named(name, "tracker", HELP)

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
