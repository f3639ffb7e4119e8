"""Stage B: trajectories of a picture under a caption (4D-STraG).

Question: none; the baseline of the ablations.
Command: python main.py --config=configs/strag.py:size=tiny
  --workdir=runs/strag --config.data.records=records/light
  --config.init_from.motion_vae=runs/motion_vae
Published sizes: 2,000 steps of 12 samples, three on each of the paper's four
GPUs (docs/method/recipes.md#training).
Hardware: 14b four H200 or a slice of 16 to 64 chips, 1p3b one H200. Memory of
each device: 14b 48 GiB are held on four, 3.5 on 64 with fsdp=16, tensor=4, 1p3b
19 GiB on one (counted from shapes). Together, with an average and the encoders
in the step: 14b 38 GiB on 64 v5p with fsdp=16, tensor=4 and 32 samples, 1p3b 59
on one with one sample (planned, benchmarks/results/plan.md). Time: 14b 1.43e15
operations a sample (counted), 6 hours on four H200; 1p3b 2.05e14, 3.5 hours on
one; at an assumed 40 % of their peak. Result: not run yet.
"""

import ml_collections

from configs import common
from more4d_jax.conditions import latents
from more4d_jax.training.objectives import strag as objective


def get_config(text: str | None = None) -> ml_collections.ConfigDict:
  size = common.arguments(text, size="tiny")["size"]
  config = common.base("strag", size)
  config.batch_size = 16
  config.num_steps = 3000
  config.init_from.motion_vae = ""  # Needed; it holds the video VAE too.
  config.init_from.depth = ""  # Needed if depth.network is above 0.
  config.init_from.strag = ""  # Optional: weights to continue from.
  config.data.update(common.conditions())
  config.motion = common.motion()  # As the motion VAE was trained.
  config.flow = common.flow()
  config.model = common.transformer(size)
  config.memory.remat = "full"
  # Whether there is a Motion Perception Module.
  config.model.use_motion_perception = True
  config.model.motion_feature = "patches"  # Or "global": one for all tokens.
  # Which tokens they modulate: "compat" as in released weights, see
  # models/motion_perception.py.
  config.model.motion_alignment = "aligned"
  # Whether depth latents are concatenated to the others.
  config.model.use_depth_latents = True
  # Whether the motion encoder is trained too, or frozen.
  config.model.train_motion_encoder = common.by_size(size, True, False)
  # Shares of samples that lose a condition.
  config.dropout = common.section(objective.STraGDropout)
  # Shares of scenes whose depth is not exact.
  config.depth = common.section(
    latents.DepthShares, **({"noisy": 0.0} if common.published(size) else {})
  )
  config.sampling = common.sampling("strag", size)
  # Small motion VAEs let points tremble; see geometry.smoothing.
  config.sampling.smoothing = common.by_size(size, 4.0, 0.0)
  if common.published(size):
    common.as_published(
      config, seed=42, steps=2_000, batch_of_a_device=3, checkpoints=(50, 5)
    )
    config.data.limit = 6_000
    config.optimizer.learning_rate = 2e-5
    config.optimizer.eps = 1e-10
    config.optimizer.weight_decay = 3e-2
    config.optimizer.clip = 0.05
    config.optimizer.clip_ramp_factor = 5.0
    config.optimizer.clip_ramp_steps = 1000
    config.optimizer.clip_outlier_ratio = 5.0
    config.optimizer.warmup_steps = 100
    config.optimizer.skip_loss_above = 0.25
  return config
