"""Wan VAE from scratch, for sizes without published weights.

Question: none; the base of all other tasks. Clips of pictures, of depth and of
made-up motion, because the other tasks encode all three.
Command: python main.py --config=configs/video_vae.py:size=tiny
  --workdir=runs/video_vae --config.data.records=records/full
"""

import ml_collections

from configs import common


def get_config(text: str | None = None) -> ml_collections.ConfigDict:
  size = common.arguments(text, size="tiny")["size"]
  config = common.base("video_vae", size)
  config.batch_size = common.by_size(size, 4, 16)
  config.num_steps = 2000
  config.optimizer.learning_rate = common.by_size(size, 1e-3, 1e-4)
  config.init_from.video_vae = ""  # Optional: weights to continue from.
  # Frames of a clip; 0: those of the size. Single pictures, 1, are learnt
  # first.
  config.clip_frames = 0
  config.augment = common.augment()
  config.loss = ml_collections.ConfigDict()
  config.loss.kl = 1e-5  # Weight of the mean divergence per latent value.
  config.loss.l2 = 1.0  # Weight of the squared error beside the absolute one.
  # Weight of the error of differences between neighbouring pixels.
  config.loss.gradient = 0.5
  config.loss.depth_share = 0.2  # Share of clips that show depth.
  config.loss.motion_share = 0.3  # Share of clips that show made-up motion.
  # Records whose latents give mean and deviation.
  config.statistics_records = 256
  return config
