"""Question: must motion features be learnt?

The motion encoder keeps its random start instead of being trained along. Sizes
with published weights start from a pretrained one, which is frozen anyhow.
Command: python main.py
  --config=configs/ablations/random_motion_encoder.py:size=tiny
  --workdir=runs/random_motion_encoder --config.data.records=records/light
  --config.init_from.motion_vae=runs/motion_vae
Hardware: two CPU cores at size tiny. Result: not run yet.
"""

import ml_collections

from configs import strag


def get_config(text: str | None = None) -> ml_collections.ConfigDict:
  config = strag.get_config(text)
  config.model.train_motion_encoder = False
  return config
