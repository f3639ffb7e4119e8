"""Stage C: completion of a rendered view (4D-ViSM).

Question: none.
Command: python main.py --config=configs/vism.py:size=tiny
  --workdir=runs/vism --config.data.records=records/full
  --config.init_from.video_vae=runs/video_vae
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
  config.batch_size = common.by_size(size, 16, 32)
  config.num_steps = 1000
  config.init_from.video_vae = ""  # Needed: the video autoencoder.
  config.init_from.vism = ""  # Weights to continue from; a LoRA needs them.
  config.data.update(common.conditions())
  config.flow = common.flow()
  config.model = common.transformer(size)
  # Above 0 a LoRA of this rank is trained instead of the network.
  config.model.lora_rank = common.by_size(size, 0, 128)
  # Shares of samples that lose a condition.
  config.dropout = common.section(objective.ViSMDropout)
  # Which films of a record are shown, and how.
  config.conditions = common.section(
    rendered_views.FilmOptions,
    **(_ORIGINAL if common.published(size) else {}),
  )
  config.sampling = common.sampling("vism")
  # Small autoencoders blur what the renderer already shows well.
  config.sampling.keep_rendered = common.by_size(size, True, False)
  if not common.published(size):
    # Small networks invent badly: near the mean the error is smallest.
    config.sampling.num_steps = 4
    config.sampling.guidance_scale = 1.0
  if common.published(size):
    config.optimizer.learning_rate = 1e-4
    common.as_published(
      config, seed=42, steps=10_000, batch_of_a_device=2, checkpoints=(100, 5)
    )
    config.optimizer.eps = 1e-10
    config.optimizer.weight_decay = 3e-2
    config.optimizer.clip = 0.05
    config.optimizer.warmup_steps = 0
  return config
