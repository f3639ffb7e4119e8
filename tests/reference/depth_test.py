"""Our depth network against Depth Anything in transformers."""

import dataclasses

import jax
import numpy as np
import pytest

pytest.importorskip("torch", reason="needs PyTorch: make reference")
transformers = pytest.importorskip(
  "transformers", reason="needs transformers: make reference"
)

import torch

from more4d_jax.checkpoints.name_maps import depth_anything, matching
from more4d_jax.models.encoders import depth
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
  weights = agreement.saved(theirs, tmp_path)
  assert depth_anything.is_transformers(weights)
  weights = depth_anything.AsOriginal(weights)
  found = matching.match(
    depth_anything.DEPTH_ANYTHING, matching.shapes_of(weights)
  )
  stated = depth_anything.Stated.read(
    theirs.config.to_dict(), transformers=True
  )
  config = depth_anything.config(found, stated)
  model = depth.DepthNetwork(dataclasses.replace(config, input_size=None))
  rng = np.random.default_rng(0)
  pictures = rng.uniform(size=(2, *picture, 3)).astype(np.float32)
  pixels = np.moveaxis((pictures - _MEAN) / _STD, -1, 1).copy()
  with torch.no_grad():
    expected = theirs(torch.from_numpy(pixels)).predicted_depth
  assert expected.std() > 0.01 * expected.max()  # A flat map proves little.
  variables = {"params": matching.to_params(found, weights)}
  output = jax.jit(model.apply)(variables, pictures)
  assert agreement.error(output, expected) < agreement.BOUND
