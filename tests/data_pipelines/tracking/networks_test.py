"""Adapters of other people's trackers, with networks that answer as theirs."""

import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data_pipelines.importers import geometry
from data_pipelines.tracking import delta, tapir, trackers
from more4d_jax import errors

_HEIGHT, _WIDTH = 16, 24


def _video():
  return np.random.default_rng(0).integers(
    0, 255, (3, _HEIGHT, _WIDTH, 3), np.uint8
  )


def _modules(monkeypatch, **found):
  """Makes modules importable; parents of a dotted name come with it."""
  for name, content in found.items():
    dotted = name.replace("__", ".")
    parts = dotted.split(".")
    for end in range(1, len(parts)):
      parent = ".".join(parts[:end])
      monkeypatch.setitem(sys.modules, parent, types.ModuleType(parent))
    monkeypatch.setitem(sys.modules, dotted, content)


class _Tapir:
  """Called as tapnet's network: moves by (2, 1) pixels a frame."""

  def __init__(self, params, state, tapir_kwargs):
    assert tapir_kwargs["bilinear_interp_with_depthwise_conv"] is False
    self.step, self.extra = params["step"], tapir_kwargs.get("extra_convs")
    assert state == {}

  def get_feature_grids(self, video, is_training, refinement_resolutions=None):
    assert not is_training and refinement_resolutions is None
    assert video.dtype == jnp.float32 and video.ndim == 5
    return (jnp.abs(video).max(),)

  def __call__(
    self,
    video,
    is_training,
    query_points,
    query_chunk_size=None,
    get_query_feats=False,
    refinement_resolutions=None,
    feature_grids=None,
  ):
    assert not is_training and query_chunk_size
    (largest,) = feature_grids
    frames = jnp.arange(video.shape[1])
    start = query_points[:, :, None, :0:-1]
    # A picture that is not in -1 ... 1 ruins the answer.
    start = start + jnp.where(largest > 1, jnp.nan, 0)
    tracks = start + frames[:, None] * self.step
    hidden = jnp.where(tracks[..., 0] < 4, 5.0, -5.0)
    return {
      "tracks": tracks,
      "occlusion": hidden,
      "expected_dist": jnp.full_like(hidden, -5.0),
    }


@pytest.fixture
def tapnet(monkeypatch, tmp_path):
  models = types.SimpleNamespace(ParameterizedTAPIR=_Tapir)
  utils = types.SimpleNamespace(
    postprocess_occlusions=lambda occlusion, distance: (
      (1 - jax.nn.sigmoid(occlusion)) * (1 - jax.nn.sigmoid(distance)) > 0.5
    )
  )
  _modules(
    monkeypatch,
    tapnet__models__tapir_model=models,
    tapnet__utils__model_utils=utils,
  )
  file = tmp_path / "weights.npy"
  stored = {"params": {"step": np.float32([2, 1])}, "state": {}}
  np.save(file, stored, allow_pickle=True)
  yield str(file)
  tapir._network.cache_clear()


@pytest.mark.parametrize("name", ["tapir", "bootstapir"])
def test_tapir_follows_our_pixels_in_order(tapnet, monkeypatch, name):
  monkeypatch.setattr(tapir, "_AT_ONCE", 100)  # 384 points: 3.84 parts.
  positions, visible = trackers.find(name, tapnet)(_video())
  grid = geometry.pixel_grid(_HEIGHT, _WIDTH)
  for t in range(3):
    np.testing.assert_allclose(
      positions[t], np.add(grid, [2 * t, t]), atol=1e-5
    )
    np.testing.assert_array_equal(visible[t], grid[..., 0] + 2 * t >= 4)


class _Delta:
  """Made and called as DELTA's dense 2D predictor, on a grid of its own."""

  def __init__(self, model):
    self._rows, self._columns = model.rows, model.columns

  def to(self, device):
    return self

  def eval(self):
    return self

  def __call__(self, video, grid_query_frame=0):
    import torch

    _, frames, colours, height, width = video.shape
    assert video.dtype == torch.float32 and colours == 3
    y = torch.linspace(0, height - 1, self._rows)
    x = torch.linspace(0, width - 1, self._columns)
    y, x = torch.meshgrid(y, x, indexing="ij")
    steps = torch.arange(frames)[:, None, None]
    # Things to the right of column 11 move, the others stand still.
    moved = torch.stack([x + 2 * steps * (x > 11), y + 0 * steps], dim=-1)
    seen = (x > 4).expand(frames, -1, -1)
    return {
      "trajs_uv": moved.reshape(1, frames, -1, 2),
      "vis": seen.reshape(1, frames, -1),
      "dense_reso": (self._rows, self._columns),
    }


@pytest.fixture
def densetrack(monkeypatch, tmp_path):
  torch = pytest.importorskip("torch", reason="make reference installs PyTorch")

  class DenseTrack2D(torch.nn.Linear):
    def __init__(self, **options):
      assert options["model_resolution"] == (384, 512)
      super().__init__(2, 1)
      self.rows, self.columns = 31, 47

  _modules(
    monkeypatch,
    densetrack3d__models__densetrack3d__densetrack2d=types.SimpleNamespace(
      DenseTrack2D=DenseTrack2D
    ),
    densetrack3d__models__predictor__dense_predictor2d=types.SimpleNamespace(
      DensePredictor2D=_Delta
    ),
  )
  file = tmp_path / "weights.pth"
  torch.save({"model": torch.nn.Linear(2, 1).state_dict()}, file)
  yield file
  delta._predictor.cache_clear()


def test_delta_s_nearest_points_carry_our_pixels(densetrack):
  positions, visible = trackers.find("delta", str(densetrack))(_video())
  grid = geometry.pixel_grid(_HEIGHT, _WIDTH)
  moving = grid[..., 0] - 0.5 > 11.25  # Nearest point at 11.5 or beyond.
  for t in range(3):
    wanted = grid + np.stack([2 * t * moving, 0 * moving], -1)
    np.testing.assert_allclose(positions[t], wanted, atol=1e-4)
    np.testing.assert_array_equal(visible[t], grid[..., 0] - 0.5 > 4.25)


def test_weights_of_something_else_are_one_line(densetrack, tmp_path):
  import torch

  torch.save({"other": torch.zeros(3)}, densetrack)
  with pytest.raises(errors.UserError, match=r"take densetrack2d\.pth"):
    trackers.find("delta", str(densetrack))(_video())
  densetrack.write_bytes(b"no weights")
  with pytest.raises(errors.UserError, match=r"take densetrack2d\.pth"):
    trackers.find("delta", str(densetrack))(_video())


@pytest.mark.parametrize("content", [b"no weights", np.zeros(3), {"params": 1}])
def test_a_file_that_is_no_checkpoint_of_tapnet_is_one_line(
  tapnet, tmp_path, content
):
  file = tmp_path / "other.npy"
  if isinstance(content, bytes):
    file.write_bytes(content)
  else:
    np.save(file, content, allow_pickle=True)
  with pytest.raises(errors.UserError, match=r"take the \.npy file"):
    trackers.find("tapir", str(file))(_video())


@pytest.mark.parametrize("name", ["bootstapir", "delta"])
def test_a_library_that_is_not_there_is_named(tmp_path, monkeypatch, name):
  pytest.importorskip("torch", reason="make reference installs PyTorch")
  for absent in ("tapnet", "densetrack3d"):
    monkeypatch.setitem(sys.modules, absent, None)
  file = tmp_path / "weights"
  file.write_bytes(b"")
  with pytest.raises(errors.UserError, match=f"the tracker '{name}' needs"):
    trackers.find(name, str(file))(_video())


@pytest.mark.parametrize(
  ("name", "weights", "words"),
  [
    ("tapir", None, "needs --weights: the file tapir_checkpoint_panning.npy"),
    ("delta", "nowhere.pth", "found no such file: check --weights"),
    ("flow", "some.pth", "'flow' takes no --weights; expected one of tapir"),
    ("raft", None, "no tracker 'raft'; expected flow, cotracker3, tapir"),
  ],
)
def test_trackers_and_their_weights_belong_together(name, weights, words):
  with pytest.raises(errors.UserError, match=words):
    trackers.find(name, weights)
