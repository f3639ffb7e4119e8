"""Sizes and ranges of the published Depth Anything V2 networks."""

import dataclasses
from collections.abc import Mapping

from more4d_jax.models.encoders import depth

# Sources: arXiv 2406.09414; the released networks' own settings.
_TRUNKS: Mapping[str, depth.DepthConfig] = {
  "small": depth.DepthConfig(),
  "base": depth.DepthConfig(
    width=768,
    num_heads=12,
    reassemble=(96, 192, 384, 768),
    features=128,
  ),
  "large": depth.DepthConfig(
    width=1024,
    num_layers=24,
    num_heads=16,
    taps=(4, 11, 17, 23),
    reassemble=(256, 512, 1024, 1024),
    features=256,
  ),
}

# Metres that the last layer's output of 1 stands for.
_MAX_DEPTH = {"indoor": 20.0, "outdoor": 80.0}

SIZES = tuple(_TRUNKS)
SCENES = (*_MAX_DEPTH, "relative")


def depth_anything(size: str, scene: str) -> depth.DepthConfig:
  """Returns the network of a published checkpoint.

  Args:
    size: "small", "base" or "large" (ViT-S, ViT-B, ViT-L).
    scene: "indoor" (up to 20 m, trained on Hypersim), "outdoor" (up to 80 m,
      Virtual KITTI), or "relative" (inverse depth without a unit).

  Raises:
    ValueError: for another size or scene.
  """
  if size not in SIZES or scene not in SCENES:
    raise ValueError(
      f"Depth Anything V2: expected a size of {', '.join(SIZES)} and a scene "
      f"of {', '.join(SCENES)}; found {size!r} and {scene!r}"
    )
  metric = scene in _MAX_DEPTH
  return dataclasses.replace(
    _TRUNKS[size],
    output="sigmoid" if metric else "relu",
    max_depth=_MAX_DEPTH.get(scene, 1.0),
    input_size=518,
  )
