"""Depth Anything's networks, small and with random weights."""

import numpy as np
import pytest

from data_pipelines.photos import depth_anything, depth_maps
from more4d_jax import errors

transformers = pytest.importorskip(
  "transformers", reason="make reference installs transformers"
)


def _network(folder, **changes):
  """Writes a network of the real classes into a folder."""
  backbone = transformers.Dinov2Config(
    hidden_size=16,
    num_hidden_layers=4,
    num_attention_heads=2,
    image_size=28,
    out_features=["stage1", "stage2", "stage3", "stage4"],
    reshape_hidden_states=False,
  )
  config = transformers.DepthAnythingConfig(
    backbone_config=backbone,
    reassemble_hidden_size=16,
    neck_hidden_sizes=[8, 8, 8, 8],
    fusion_hidden_size=8,
    head_hidden_size=8,
    **changes,
  )
  transformers.DepthAnythingForDepthEstimation(config).save_pretrained(folder)
  transformers.DPTImageProcessor(
    size={"height": 28, "width": 28}, ensure_multiple_of=14
  ).save_pretrained(folder)
  return str(folder)


@pytest.fixture(autouse=True)
def _forget():
  yield
  depth_maps.provider.cache_clear()
  depth_anything.network.cache_clear()


@pytest.mark.slow
def test_a_metric_network_gives_metres_at_the_picture_s_size(tmp_path):
  name = _network(tmp_path, depth_estimation_type="metric", max_depth=20)
  pixels = np.random.default_rng(0).integers(0, 255, (30, 50, 3), np.uint8)
  found = depth_maps.provider(name)(pixels, tmp_path / "a.png", tmp_path)
  assert found.depth.shape == (30, 50) and found.valid.all()
  assert 0 < found.depth.min() < found.depth.max() < 20


def test_a_network_without_a_unit_is_refused(tmp_path):
  (tmp_path / "config.json").write_text("no JSON")
  assert not depth_anything.is_network(str(tmp_path))
  name = _network(tmp_path, depth_estimation_type="relative")
  assert depth_anything.is_network(name)
  with pytest.raises(errors.UserError, match="gives relative depth; expected"):
    depth_anything.network(name)


def test_a_network_that_is_not_there_is_one_line(monkeypatch):
  def absent(name):
    raise OSError(f"{name} is no repository\n on the hub")

  monkeypatch.setattr(
    transformers.AutoImageProcessor, "from_pretrained", absent
  )
  name = "depth-anything/no-such-network"
  with pytest.raises(errors.UserError, match="no depth network") as error:
    depth_anything.network(name)
  assert "\n" not in str(error.value)
