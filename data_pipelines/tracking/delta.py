"""DELTA's dense 2D tracker (Ngo et al. 2025), where it is installed.

Positions alone: points get the depth of `data track`, as with every tracker.
What DELTA's own 3D demo writes is read by `data import --kind delta`.
"""

import functools
import pickle
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, UInt8

from data_pipelines import libraries
from data_pipelines.importers import geometry
from more4d_jax import errors

_USER = "the tracker 'delta'"
_INSTALL = (
  "clone github.com/snap-research/DELTA_densetrack3d, install its "
  "requirements, put the clone into PYTHONPATH"
)
# Arguments of the network. Source: DELTA's demo_2d.py.
_NETWORK = {
  "stride": 4,
  "window_len": 16,
  "add_space_attn": True,
  "num_virtual_tracks": 64,
  "model_resolution": (384, 512),
  "upsample_factor": 4,
}

# What files of another kind make PyTorch raise.
_DAMAGE = (
  RuntimeError,
  EOFError,
  AttributeError,
  TypeError,
  pickle.UnpicklingError,
)


def track(
  video: UInt8[np.ndarray, "T H W 3"], weights: str
) -> tuple[Float[np.ndarray, "T H W 2"], Bool[np.ndarray, "T H W"]]:
  """Follows every pixel of the first frame; see `optical_flow.track`.

  Args:
    video: of one shot.
    weights: DELTA's file densetrack2d.pth.

  Raises:
    UserError: DELTA is not installed, or the file is no checkpoint of it.
  """
  torch, predictor, device = _predictor(weights)
  frames = torch.from_numpy(np.moveaxis(video, -1, 1)[None]).float().to(device)
  found = predictor(frames, grid_query_frame=0)
  rows, columns = found["dense_reso"]
  grid = len(video), rows, columns
  positions = found["trajs_uv"][0].float().cpu().numpy().reshape(*grid, 2)
  visible = found["vis"][0].cpu().numpy().reshape(grid)
  # DELTA follows the points of a grid of its own, from corner to corner of the
  # picture, first pixel centred at 0. Each of ours goes the way of the nearest.
  height, width = video.shape[1:3]
  row, y = _nearest(height, rows)
  column, x = _nearest(width, columns)
  start = np.stack(np.meshgrid(x, y), axis=-1)
  way = positions[:, row[:, None], column] - start
  return (
    geometry.pixel_grid(height, width) + way,
    visible[:, row[:, None], column].astype(bool),
  )


def _nearest(length: int, points: int) -> tuple[np.ndarray, np.ndarray]:
  """For each of our pixels DELTA's nearest point, and where that lies."""
  scale = (length - 1) / (points - 1)
  nearest = np.rint(np.arange(length) / scale).astype(int)
  return nearest, nearest * scale


@functools.cache
def _predictor(weights: str) -> tuple[Any, Any, str]:
  torch, device = libraries.torch(_USER)
  networks = libraries.module(
    "densetrack3d.models.densetrack3d.densetrack2d", _USER, _INSTALL
  )
  predictors = libraries.module(
    "densetrack3d.models.predictor.dense_predictor2d", _USER, _INSTALL
  )
  network = networks.DenseTrack2D(**_NETWORK)
  _load(torch, network, weights)
  predictor = predictors.DensePredictor2D(model=network)
  return torch, predictor.to(device).eval(), device


def _load(torch: Any, network: Any, weights: str) -> None:
  """Puts the weights of a file into the network."""
  file = libraries.weights_file(weights, _USER)
  wrong = errors.UserError(
    f"expected the weights of DELTA's DenseTrack2D in {file}, found another "
    "file: take densetrack2d.pth, which DELTA's README names"
  )
  try:
    stored = torch.load(file, map_location="cpu", weights_only=True)
    stored = stored.get("model", stored)
    absent = network.load_state_dict(stored, strict=False).missing_keys
  except _DAMAGE as error:
    raise wrong from error
  if set(absent) & {name for name, _ in network.named_parameters()}:
    raise wrong
