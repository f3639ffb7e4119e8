"""CoTracker3 (Karaev et al. 2024) as a dense tracker, where PyTorch is there.

The first use downloads the network through `torch.hub`, under its own licence.
"""

import functools
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, UInt8

from data_pipelines import libraries
from data_pipelines.importers import geometry

_REPOSITORY, _NETWORK = "facebookresearch/co-tracker", "cotracker3_offline"
_AT_ONCE = 4096  # Points: what a GPU of 16 GB holds with 49 frames.


def track(
  video: UInt8[np.ndarray, "T H W 3"],
) -> tuple[Float[np.ndarray, "T H W 2"], Bool[np.ndarray, "T H W"]]:
  """Follows every pixel of the first frame; see `optical_flow.track`.

  Raises:
    UserError: PyTorch is not installed.
  """
  torch, predictor, device = _predictor()
  frames = torch.from_numpy(np.moveaxis(video, -1, 1)[None]).float().to(device)
  # CoTracker's first pixel is centred at 0.
  places = geometry.pixel_grid(*video.shape[1:3]).reshape(-1, 2) - 0.5
  queries = np.insert(places, 0, 0.0, axis=1).astype(np.float32)
  found, seen = [], []
  with torch.no_grad():
    for start in range(0, len(queries), _AT_ONCE):
      part = torch.from_numpy(queries[start : start + _AT_ONCE][None])
      tracks, visible = predictor(frames, queries=part.to(device))
      found.append(tracks[0].float().cpu().numpy())
      seen.append(visible[0].cpu().numpy().astype(bool))
  shape = video.shape[:3]
  positions = np.concatenate(found, axis=1).reshape(*shape, 2) + 0.5
  return positions, np.concatenate(seen, axis=1).reshape(shape)


@functools.cache
def _predictor() -> tuple[Any, Any, str]:
  torch, device = libraries.torch("the tracker 'cotracker3'")
  return torch, torch.hub.load(_REPOSITORY, _NETWORK).to(device).eval(), device
