"""Question: does the Motion Perception Module help?

The network without it (docs/method/paper.md#ablations: consistency .8650
against .8702).
Command: python main.py
  --config=configs/ablations/without_motion_perception.py:size=tiny
  --workdir=runs/without_motion_perception --config.data.records=records/light
  --config.init_from.motion_vae=runs/motion_vae
Hardware: two CPU cores at size tiny. Result: not run yet.
"""

import ml_collections

from configs import strag


def get_config(text: str | None = None) -> ml_collections.ConfigDict:
  config = strag.get_config(text)
  config.model.use_motion_perception = False
  return config
