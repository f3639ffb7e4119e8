"""Stage A: trajectory encoder and decoder around the video VAE.

Source: docs/method/trajectories.md#objective.
Question: none; the baseline of the normalisation ablation.
Command: python main.py --config=configs/motion_vae.py:size=tiny
  --workdir=runs/motion_vae --config.data.records=records/light
  --config.init_from.video_vae=runs/video_vae
"""

import ml_collections

from configs import common


def get_config(text: str | None = None) -> ml_collections.ConfigDict:
  size = common.arguments(text, size="tiny")["size"]
  config = common.base("motion_vae", size)
  config.batch_size = common.by_size(size, 8, 16)
  config.num_steps = 2500
  config.init_from.video_vae = ""  # Needed.
  config.init_from.motion_vae = ""  # Optional: weights to go on from.
  config.motion = common.motion()
  config.augment = common.augment()
  # Side in pixels of the windows that are trained on; 0: whole pictures.
  config.window = {"tiny": 32, "small": 64}.get(size, 0)
  config.loss = ml_collections.ConfigDict()
  config.loss.kl = 1e-6  # Of the divergence summed over a sample's latents.
  config.loss.l2 = common.by_size(size, 30.0, 0.0)  # Beside the absolute error.
  config.loss.moving = common.by_size(
    size, 0.5, 0.0
  )  # Share for moving pixels.
  config.loss.jerk = common.by_size(size, 0.2, 0.0)  # Of trembling in time.
  config.loss.scale = common.by_size(size, "mean", "sum")
  config.loss.train_encoder = True  # False reproduces the original.
  # Motion is small beside a video's range; see models.motion_vae.
  config.gain = common.by_size(size, 8.0, 1.0)
  config.decoder_rate = common.by_size(size, 1.0, 0.1)  # VAE decoder's rate.
  config.statistics_records = 256  # Latents of so many make the statistics.
  if common.published(size):
    config.optimizer.learning_rate = 5e-6
    config.optimizer.b2 = 0.999
    config.optimizer.schedule = "constant"
    config.optimizer.warmup_steps = 100
    config.optimizer.skip_loss_above = 1e7
    config.optimizer.skip_after = 0
    config.optimizer.outlier_deviations = 6.0
  else:
    config.optimizer.learning_rate = 1e-3
    config.augment.mirror_rate = 0.5
  return config
