"""Stage A: trajectory encoder and decoder around the video VAE.

Source: docs/method/trajectories.md#objective.
Question: none; the baseline of the normalisation ablation.
Command: python main.py --config=configs/motion_vae.py:size=tiny
  --workdir=runs/motion_vae --config.data.records=records/light
  --config.init_from.video_vae=runs/video_vae
Published sizes, whose autoencoders are the same: 5,000 steps of 4 samples, one
on each of the paper's four GPUs (docs/method/recipes.md#training).
Hardware: four H100 or H200. Memory: 1.03 GiB are held (counted from shapes);
what a step needs besides, levels recomputed, has not been planned yet. Time:
5.3e14 operations a sample (counted), 1.9 hours on four H200 at an assumed 40 %
of their peak. Result: not run yet.
"""

import ml_collections

from configs import common
from more4d_jax.training.objectives import motion_vae as objective


def get_config(text: str | None = None) -> ml_collections.ConfigDict:
  size = common.arguments(text, size="tiny")["size"]
  config = common.base("motion_vae", size)
  config.batch_size = 8
  config.num_steps = 2500
  config.init_from.video_vae = ""  # Needed: the video autoencoder.
  config.init_from.motion_vae = ""  # Optional: weights to continue from.
  config.motion = common.motion()
  config.augment = common.augment()
  # Side in pixels of the windows that are trained on; 0: whole pictures.
  config.window = {"tiny": 32, "mini": 32, "small": 64}.get(size, 0)
  config.loss = common.section(objective.MotionLoss)  # Weights.
  if not common.published(size):
    config.loss.update(l2=30.0, moving=0.5, jerk=0.2, scale="mean")
  # Factor before encoding: motion is small beside a video's range.
  config.gain = common.by_size(size, 8.0, 1.0)
  # Learning rate of the video decoder over that of the trajectory networks.
  config.decoder_rate = common.by_size(size, 1.0, 0.1)
  # Records whose latents give mean and deviation.
  config.statistics_records = 256
  if common.published(size):
    common.as_published(
      config,
      seed=40,
      steps=5_000,
      batch_of_a_device=1,
      checkpoints=(200, 3),
    )
    config.memory.remat = "full"
    config.optimizer.learning_rate = 5e-6
    config.optimizer.warmup_steps = 100
    config.optimizer.skip_loss_above = 1e7
    config.optimizer.skip_after = 0
    config.optimizer.outlier_deviations = 6.0
  else:
    config.optimizer.learning_rate = 1e-3
    config.augment.mirror_rate = 0.5
  return config
