"""Question: does it matter where motion features are?

One mean feature for all tokens (docs/method/paper.md#ablations: .8743 against
.8702).
Command: python main.py
  --config=configs/ablations/global_motion_feature.py:size=tiny
  --workdir=runs/global_motion_feature --config.data.records=records/light
  --config.init_from.motion_vae=runs/motion_vae
Hardware: two CPU cores at size tiny. Result: not run yet.
"""

import ml_collections

from configs import strag


def get_config(text: str | None = None) -> ml_collections.ConfigDict:
  config = strag.get_config(text)
  config.model.motion_feature = "global"
  return config
