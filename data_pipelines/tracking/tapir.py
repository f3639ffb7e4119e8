"""TAPIR (Doersch et al. 2023) and BootsTAPIR (2024) as dense trackers, in JAX.

The networks are those of the library `tapnet`; their weights are files that
its authors publish. Such a file is a pickle, and reading it executes what it
says: take it from nowhere else.
"""

import functools
import pickle
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, UInt8

from data_pipelines import libraries
from data_pipelines.importers import geometry
from more4d_jax import errors

_INSTALL = (
  "pip install dm-haiku git+https://github.com/google-deepmind/tapnet.git"
)
# Arguments of the networks. Source: tapnet's colabs/tapir_demo.ipynb.
_NETWORKS: Mapping[str, Mapping[str, Any]] = {
  "tapir": {"pyramid_level": 0},
  "bootstapir": {
    "pyramid_level": 1,
    "extra_convs": True,
    "softmax_temperature": 10.0,
  },
}
# What files of another kind make NumPy and pickle raise.
_DAMAGE = (
  ValueError,
  EOFError,
  ImportError,
  AttributeError,
  pickle.UnpicklingError,
)
_AT_ONCE = 512  # Points: 2 GB of cost volumes with 49 frames.


def track(
  name: str, video: UInt8[np.ndarray, "T H W 3"], weights: str
) -> tuple[Float[np.ndarray, "T H W 2"], Bool[np.ndarray, "T H W"]]:
  """Follows every pixel of the first frame; see `optical_flow.track`.

  Args:
    name: tapir or bootstapir.
    video: of one shot, its sides multiples of 8.
    weights: file of tapnet's authors.

  Raises:
    UserError: tapnet is not installed, or the file is no checkpoint of it.
  """
  grids_of, points_of = _network(name, weights)
  frames = (video.astype(np.float32) / 255 * 2 - 1)[None]
  # Like ours, TAPIR's pixels are centred at + 0.5; queries are (t, y, x).
  places = geometry.pixel_grid(*video.shape[1:3]).reshape(-1, 2)
  queries = np.insert(places[:, ::-1], 0, 0.0, axis=1).astype(np.float32)
  # Parts of one size, so that one program does them all.
  more = -len(queries) % _AT_ONCE
  queries = np.concatenate([queries, np.repeat(queries[-1:], more, axis=0)])
  grids = grids_of(frames)
  parts = [
    tuple(map(np.asarray, points_of(frames, grids, part[None])))
    for part in np.split(queries, len(queries) // _AT_ONCE)
  ]
  tracks, visible = (np.concatenate(part) for part in zip(*parts, strict=True))
  count, shape = len(places), video.shape[:3]
  positions = np.swapaxes(tracks[:count], 0, 1).reshape(*shape, 2)
  return positions, np.swapaxes(visible[:count], 0, 1).reshape(shape)


@functools.cache
def _network(name: str, weights: str) -> tuple[Callable, Callable]:
  """Compiled functions: frames -> features; and, with queries, -> tracks."""
  import jax

  user = f"the tracker {name!r}"
  models = libraries.module("tapnet.models.tapir_model", user, _INSTALL)
  utils = libraries.module("tapnet.utils.model_utils", user, _INSTALL)
  params, state = _weights(weights, user)
  network = models.ParameterizedTAPIR(
    params,
    state,
    tapir_kwargs={
      "bilinear_interp_with_depthwise_conv": False,
      **_NETWORKS[name],
    },
  )

  def points_of(frames, grids, queries):
    found = network(
      video=frames,
      is_training=False,
      query_points=queries,
      query_chunk_size=_AT_ONCE,
      feature_grids=grids,
    )
    visible = utils.postprocess_occlusions(
      found["occlusion"], found["expected_dist"]
    )
    return found["tracks"][0], visible[0]

  grids_of = functools.partial(network.get_feature_grids, is_training=False)
  return jax.jit(grids_of), jax.jit(points_of)


def _weights(path: str, user: str) -> tuple[Any, Any]:
  file = libraries.weights_file(path, user)
  wrong = errors.UserError(
    f"expected the weights of {user} in {file}, found no checkpoint of tapnet: "
    "take the .npy file that tapnet's README names"
  )
  try:
    with file.open("rb") as opened:
      found = np.lib.format.read_array(opened, allow_pickle=True)
  except _DAMAGE as error:
    raise wrong from error
  stored = found.item() if found.shape == () else None
  if not isinstance(stored, Mapping) or not {"params", "state"} <= set(stored):
    raise wrong
  return stored["params"], stored["state"]
