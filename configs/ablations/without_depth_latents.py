"""Question: do depth latents help?

The network without them (docs/method/paper.md#ablations: consistency .8567
against .8702).
Command: python main.py
  --config=configs/ablations/without_depth_latents.py:size=tiny
  --workdir=runs/without_depth_latents --config.data.records=records/light
  --config.init_from.motion_vae=runs/motion_vae
Hardware: two CPU cores at size tiny. Result: not run yet.
"""

import ml_collections

from configs import strag


def get_config(text: str | None = None) -> ml_collections.ConfigDict:
  config = strag.get_config(text)
  config.model.use_depth_latents = False
  return config
