"""A small monocular depth network, so that a bare photograph can be used.

Question: none.
Command: python main.py --config=configs/depth.py:size=tiny
  --workdir=runs/depth --config.data.records=records/light
"""

import ml_collections

from configs import common
from more4d_jax.training.objectives import depth as objective


def get_config(text: str | None = None) -> ml_collections.ConfigDict:
  size = common.arguments(text, size="tiny")["size"]
  config = common.base("depth", size)
  config.batch_size = 16
  config.num_steps = 2000
  config.optimizer.learning_rate = 1e-3
  config.init_from.depth = ""  # Optional: weights to continue from.
  config.augment = common.augment()
  config.augment.mirror_rate = 0.5
  config.loss = common.section(objective.DepthLoss)  # Weights.
  return config
