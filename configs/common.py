"""Sections that every configuration shares."""

import ml_collections

from more4d_jax.sampling import sampler_options

SIZES = ("nano", "tiny", "small", "1p3b", "14b")


def arguments(text: str | None, **defaults: str) -> dict[str, str]:
  """Parses "size=tiny,task=strag", what follows the colon of --config.

  Raises:
    ValueError: for an unknown name or size.
  """
  found = dict(defaults)
  for part in filter(None, (text or "").split(",")):
    name, _, value = part.partition("=")
    if name not in defaults:
      raise ValueError(
        f"unknown argument {name!r} after --config=FILE: expected "
        f"{sorted(defaults)} as in size=tiny"
      )
    found[name] = value
  if found.get("size", "tiny") not in SIZES:
    raise ValueError(
      f"unknown size {found['size']!r}: choose one of {', '.join(SIZES)}"
    )
  return found


def published(size: str) -> bool:
  """Whether published weights exist for a size, to start from."""
  return size in ("1p3b", "14b")


def by_size(size: str, small: object, large: object) -> object:
  """Returns `large` for the sizes with published weights, else `small`."""
  return large if published(size) else small


def base(task: str, size: str) -> ml_collections.ConfigDict:
  """Returns the sections that every task reads; the values are for `task`."""
  config = ml_collections.ConfigDict()
  config.task = task
  config.size = size  # A name of models/variants.py.
  config.seed = 0
  config.batch_size = by_size(size, 8, 64)  # All devices together.
  config.num_steps = 1000  # In all; the same command goes on from where it is.
  config.log_every = 10
  config.skip_limit = 100  # So many skipped steps in a row end the run.
  config.dtype = by_size(size, "float32", "bfloat16")  # Matrix products.
  config.data = data()
  config.optimizer = optimizer()
  config.mesh = mesh()
  config.checkpoint = checkpoint(size)
  config.evaluation = evaluation(size)
  config.init_from = ml_collections.ConfigDict()  # Workdirs, or networks.
  return config


def data() -> ml_collections.ConfigDict:
  """Where records come from and how they are read."""
  section = ml_collections.ConfigDict()
  section.records = ""  # Directories of records, separated by commas.
  section.held_out = ""  # Directories for evaluation; empty: the last records
  section.num_held_out = 0  # of `records`, this many, which are not trained on.
  section.limit = 0  # Train on the first so many records; 0 means all.
  section.weights = ""  # Shares of the directories in `records`, as "3,1";
  # empty: all their records alike.
  section.max_damaged = 0  # Unreadable records that others may stand in for.
  section.shuffle = True
  section.workers = 0  # Processes that read; 0 reads in this one.
  section.threads = 4
  return section


def optimizer() -> ml_collections.ConfigDict:
  """AdamW; the fields of training.optimizer.OptimizerConfig."""
  section = ml_collections.ConfigDict()
  section.learning_rate = 5e-4
  section.b1 = 0.9
  section.b2 = 0.99
  section.eps = 1e-8
  section.weight_decay = 1e-2
  section.clip = 1.0
  section.clip_ramp_factor = 1.0
  section.clip_ramp_steps = 0
  section.clip_outlier_ratio = 0.0
  section.warmup_steps = 50
  section.warmup_from_zero = False
  section.schedule = "cosine"  # Or "constant".
  section.final_fraction = 0.05
  section.ema_decay = 0.995
  section.skip_loss_above = 0.0
  section.skip_after = 50
  section.outlier_deviations = 0.0
  section.outlier_window = 1000
  section.outlier_after = 100
  return section


def mesh() -> ml_collections.ConfigDict:
  """Devices along each axis; -1 takes the rest."""
  section = ml_collections.ConfigDict()
  section.data = 1
  section.fsdp = -1
  section.context = 1
  section.tensor = 1
  return section


def checkpoint(size: str) -> ml_collections.ConfigDict:
  """How often the state is written, and how many states stay."""
  section = ml_collections.ConfigDict()
  section.every = by_size(size, 200, 50)
  section.keep = by_size(size, 1, 5)
  return section


def evaluation(size: str) -> ml_collections.ConfigDict:
  """Figures and videos on held-out records."""
  section = ml_collections.ConfigDict()
  section.every = by_size(size, 500, 1000)  # 0: only at the end.
  section.records = 16  # At most so many held-out records.
  section.videos = 4  # How many of them are saved as videos.
  return section


def motion() -> ml_collections.ConfigDict:
  """How trajectories become motion.

  Source: docs/method/trajectories.md#normalisation.
  """
  section = ml_collections.ConfigDict()
  section.normalisation = "depth"  # first_frame_range global_max displacement
  section.alpha = "intrinsics"  # Of each record; or a fixed pair "ax,ay".
  return section


def augment() -> ml_collections.ConfigDict:
  """Random choices of data.transforms.ExampleOptions."""
  section = ml_collections.ConfigDict()
  section.random_crop = True
  section.mirror_rate = 0.0
  return section


def transformer(size: str) -> ml_collections.ConfigDict:
  """Switches of the transformer and its encoders."""
  section = ml_collections.ConfigDict()
  section.attention = "auto"  # Implementation of kernels.attention.
  section.norm_rotary = "auto"  # Implementation of kernels.norm_rotary.
  section.context_attention = "ring"  # ulysses; where mesh.context divides.
  section.remat = True  # Recompute layers in the backward pass.
  section.train_text_encoder = by_size(size, True, False)
  section.train_image_encoder = by_size(size, True, False)
  return section


def sampling(network: str) -> ml_collections.ConfigDict:
  """How evaluation samples, and later users unless they say otherwise.

  The fields of sampling.sampler_options.SamplerConfig that concern a network.
  """
  section = ml_collections.ConfigDict(sampler_options.section(network))
  section.num_steps = 20
  section.guidance_scale = 2.0
  section.shift = 0.0  # 0: as in training, flow.shift.
  return section


def flow() -> ml_collections.ConfigDict:
  """Flow matching in training; sampling reads it from a network's metadata.

  Source: docs/method/flow_matching.md#objective.
  """
  section = ml_collections.ConfigDict()
  section.shift = 5.0
  section.sampling = "uniform"
  section.weighting = "none"
  section.error_limit = 50.0  # Larger errors of single elements do not count.
  section.motion_ratio = 0.0  # Share of the loss on differences along time.
  return section
