"""Stage C: completion of a rendered view (4D-ViSM).

Question: none.
Command: python main.py --config=configs/vism.py:size=tiny
  --workdir=runs/vism --config.data.records=records/full
  --config.init_from.video_vae=runs/video_vae
Published sizes: a LoRA, 10,000 steps of 8 samples, two on each of the paper's
four GPUs (docs/method/recipes.md#training).
Hardware: 14b one to four H200, 1p3b one. Memory: 14b 39 GiB are held (counted
from shapes); together 111 on one H200 with one sample, an average, float32 and
the encoders in the step (planned, benchmarks/results/plan.md). Time: 14b
1.11e15 operations a sample (counted), 16 hours on four H200; 1p3b 1.72e14, 10
hours on one; at an assumed 40 % of their peak. Result: not run yet.
"""

import ml_collections

from configs import common
from more4d_jax.conditions import rendered_views
from more4d_jax.training.objectives import vism as objective

# Exact depth and tracks; holes are grey.
_ORIGINAL = {"films": 2, "estimated": 0.0, "holes": "grey"}


def get_config(text: str | None = None) -> ml_collections.ConfigDict:
  size = common.arguments(text, size="tiny")["size"]
  config = common.base("vism", size)
  config.batch_size = 16
  config.num_steps = 1000
  config.init_from.video_vae = ""  # Needed: the video autoencoder.
  config.init_from.vism = ""  # Weights to continue from; a LoRA needs them.
  config.data.update(common.conditions())
  config.flow = common.flow()
  config.model = common.transformer(size)
  config.memory.remat = "full"
  # Above 0 a LoRA of this rank is trained instead of the network.
  config.model.lora_rank = common.by_size(size, 0, 128)
  # Shares of samples that lose a condition.
  config.dropout = common.section(objective.ViSMDropout)
  # Which films of a record are shown, and how.
  config.conditions = common.section(
    rendered_views.FilmOptions,
    **(_ORIGINAL if common.published(size) else {}),
  )
  config.sampling = common.sampling("vism", size)
  # Small autoencoders blur what the renderer already shows well.
  config.sampling.keep_rendered = common.by_size(size, True, False)
  if not common.published(size):
    # Small networks invent badly: near the mean the error is smallest.
    config.sampling.num_steps = 4
    config.sampling.guidance_scale = 1.0
  if common.published(size):
    common.as_published(
      config, seed=42, steps=10_000, batch_of_a_device=2, checkpoints=(100, 5)
    )
    config.optimizer.learning_rate = 1e-4
    config.optimizer.eps = 1e-10
    config.optimizer.weight_decay = 3e-2
    config.optimizer.clip = 0.05
    config.optimizer.warmup_steps = 0
  return config
