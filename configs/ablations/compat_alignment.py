"""Question: does it matter that motion features meet the right tokens?

As in released weights, where they start at the tokens of the reference and
leave out the last frame
(docs/method/motion_perception.md#alignment-with-the-reference-tokens).
Command: python main.py
  --config=configs/ablations/compat_alignment.py:size=tiny
  --workdir=runs/compat_alignment --config.data.records=records/light
  --config.init_from.motion_vae=runs/motion_vae
Hardware: two CPU cores at size tiny. Result: not run yet.
"""

import ml_collections

from configs import strag


def get_config(text: str | None = None) -> ml_collections.ConfigDict:
  config = strag.get_config(text)
  config.model.motion_alignment = "compat"
  return config
