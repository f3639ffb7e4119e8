"""Question: does dividing motion by each pixel's depth help?

Against min-max, one range for the whole scene: the widest extent of its first
points along an axis, `first_frame_range` in geometry/motion.py, which the
original falls back to and which its paper compares with
(docs/method/paper.md#ablations: consistency .8604 against .8702); against
positions over their largest value; and against plain displacement. Motion VAE
and STraG change together.
Command: python main.py --config=configs/ablations/normalisation.py:
  mode=min_max,task=motion_vae,size=tiny --workdir=runs/min_max/motion_vae ...
  and the same with task=strag and
  --config.init_from.motion_vae=runs/min_max/motion_vae; mode=global_max and
  mode=none likewise
Hardware: two CPU cores at size tiny. Result: not run yet.
"""

import ml_collections

from configs import common, motion_vae, strag

_MODES = {
  "min_max": "first_frame_range",
  "global_max": "global_max",
  "none": "displacement",
}


def get_config(text: str | None = None) -> ml_collections.ConfigDict:
  found = common.arguments(text, size="tiny", task="strag", mode="min_max")
  base = {"strag": strag, "motion_vae": motion_vae}
  for name, known in (("task", base), ("mode", _MODES)):
    if found[name] not in known:
      raise ValueError(f"{name}={found[name]}: choose {' or '.join(known)}")
  config = base[found["task"]].get_config(f"size={found['size']}")
  config.motion.normalisation = _MODES[found["mode"]]
  return config
