"""Question: does the trajectory encoder have to learn?

As in the original, where no gradient reaches it
(docs/method/trajectories.md#objective).
Command: python main.py
  --config=configs/ablations/fixed_trajectory_encoder.py:size=tiny
  --workdir=runs/fixed_trajectory_encoder --config.data.records=records/light
  --config.init_from.video_vae=runs/video_vae
Hardware: two CPU cores at size tiny. Result: not run yet.
"""

import ml_collections

from configs import motion_vae


def get_config(text: str | None = None) -> ml_collections.ConfigDict:
  config = motion_vae.get_config(text)
  config.loss.train_encoder = False
  return config
