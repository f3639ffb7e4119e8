"""Our depth network against Depth Anything in transformers, converted."""

import dataclasses

import jax
import numpy as np
import pytest

pytest.importorskip("torch", reason="needs PyTorch: make reference")
transformers = pytest.importorskip(
  "transformers", reason="needs transformers: make reference"
)

import torch

from more4d_jax.checkpoints import store
from more4d_jax.models.encoders import depth
from more4d_jax.published import convert
from tests.reference import agreement

pytestmark = pytest.mark.torch

_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
_STD = np.array([0.229, 0.224, 0.225], np.float32)


# Width, heads, blocks, taps as stages, trained patches a side, picture, kind.
@pytest.mark.parametrize(
  "size",
  [
    (24, 2, 4, (1, 2, 3, 4), 3, (42, 42), ("metric", 20)),
    (32, 4, 6, (2, 3, 5, 6), 4, (28, 70), ("metric", 80)),
    (16, 1, 5, (1, 2, 4, 5), 5, (84, 56), ("relative", 1)),
  ],
)
def test_depth_network(size, tmp_path):
  width, heads, blocks, taps, side, picture, (kind, largest) = size
  theirs = agreement.redraw(
    transformers.DepthAnythingForDepthEstimation(
      transformers.DepthAnythingConfig(
        backbone_config={
          "model_type": "dinov2",
          "hidden_size": width,
          "num_attention_heads": heads,
          "num_hidden_layers": blocks,
          "image_size": 14 * side,
          "out_indices": list(taps),
          "reshape_hidden_states": False,
        },
        reassemble_hidden_size=width,
        neck_hidden_sizes=[8, 12, 16, 20],
        fusion_hidden_size=12,
        head_hidden_size=6,
        depth_estimation_type=kind,
        max_depth=largest,
      )
    )
  )
  theirs.save_pretrained(tmp_path / "published")
  convert.convert(
    tmp_path / "published",
    tmp_path / "ours",
    convert.Options(progress=False),
  )
  found = store.load_network(tmp_path / "ours" / "depth")
  config = dataclasses.replace(found.config, input_size=None)
  model = depth.DepthNetwork(config)
  rng = np.random.default_rng(0)
  pictures = rng.uniform(size=(2, *picture, 3)).astype(np.float32)
  pixels = np.moveaxis((pictures - _MEAN) / _STD, -1, 1).copy()
  with torch.no_grad():
    expected = theirs(torch.from_numpy(pixels)).predicted_depth
  assert expected.std() > 0.01 * expected.max()  # A flat map proves little.
  output = jax.jit(model.apply)({"params": found.params}, pictures)
  assert agreement.error(output, expected) < agreement.BOUND
