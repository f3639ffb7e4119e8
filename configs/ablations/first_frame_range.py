"""Question: does dividing by each pixel's depth help, against one range?

Motion divided by the extent of the scene instead of by each point's depth
(docs/method/paper.md#ablations: consistency .8604 against .8702). Motion VAE
and STraG change together.
Command: python main.py --config=configs/ablations/first_frame_range.py:
  task=motion_vae,size=tiny --workdir=runs/range/motion_vae ... and the same
  with task=strag and --config.init_from.motion_vae=runs/range/motion_vae
Hardware: two CPU cores at size tiny. Result: not run yet.
"""

import ml_collections

from configs import common, motion_vae, strag


def get_config(text: str | None = None) -> ml_collections.ConfigDict:
  found = common.arguments(text, size="tiny", task="strag")
  base = {"strag": strag, "motion_vae": motion_vae}
  if found["task"] not in base:
    raise ValueError(f"task={found['task']}: choose strag or motion_vae")
  config = base[found["task"]].get_config(f"size={found['size']}")
  config.motion.normalisation = "first_frame_range"
  return config
