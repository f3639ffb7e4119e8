"""Sections that every configuration shares."""

import dataclasses

import ml_collections

from more4d_jax.models import flow_matching, variants
from more4d_jax.sampling import sampler_options
from more4d_jax.training import memory
from more4d_jax.training import optimizer as optimizer_lib

SIZES = tuple(variants.VARIANTS)


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
  return variants.get(size).published


def by_size(size: str, small: object, large: object) -> object:
  """Returns `large` for the sizes with published weights, else `small`."""
  return large if published(size) else small


def base(task: str, size: str) -> ml_collections.ConfigDict:
  """Returns the sections that every task reads; the values are for `task`."""
  config = ml_collections.ConfigDict()
  config.task = task  # Which network is trained.
  config.size = size  # A name in models/variants.py.
  config.seed = 0  # Of initial values, noise and the order of records.
  config.batch_size = by_size(size, 8, 64)  # On all devices together.
  config.num_steps = 1000  # In all; a resumed run does those that are left.
  config.log_every = 10  # Steps between two lines of metrics.
  config.skip_limit = 100  # Skipped steps in a row that end the run.
  config.profile = ""  # "START:STOP": these steps, profiled to the workdir.
  config.dtype = by_size(size, "float32", "bfloat16")  # Of matrix products.
  config.data = data()
  config.optimizer = optimizer()
  config.memory = section(memory.MemoryConfig)
  config.mesh = mesh()
  config.checkpoint = checkpoint(size)
  config.evaluation = evaluation(size)
  config.init_from = ml_collections.ConfigDict()  # Workdirs or networks.
  return config


def as_published(
  config: ml_collections.ConfigDict,
  *,
  seed: int,
  steps: int,
  batch_of_a_device: int,
  checkpoints: tuple[int, int],
) -> None:
  """What the original's scripts set and what the paper says of a training.

  The batch is that of four devices, which the paper has; the average of the
  parameters is off, as in every script.
  Source: docs/method/recipes.md#training.

  Args:
    config: changed.
    seed: of the script.
    steps: of the paper.
    batch_of_a_device: of the script.
    checkpoints: steps between two of them, and how many stay.
  """
  config.seed, config.num_steps = seed, steps
  config.batch_size = 4 * batch_of_a_device
  config.checkpoint.every, config.checkpoint.keep = checkpoints
  config.optimizer.b2 = 0.999
  config.optimizer.schedule = "constant"
  config.optimizer.ema_decay = 0.0


def data() -> ml_collections.ConfigDict:
  """Where records come from and how they are read."""
  section = ml_collections.ConfigDict()
  section.records = ""  # Directories of records, separated by commas.
  # Directories of records for evaluation; when empty, the last records of
  # `records` are held out.
  section.held_out = ""
  # How many records of `records` are held out and not trained on.
  section.num_held_out = 0
  section.limit = 0  # Number of records, the first ones, to train on; 0: all.
  # Shares of the directories in `records`, as "3,1"; when empty, every record
  # is as likely as any other.
  section.weights = ""
  section.max_damaged = 0  # Unreadable records that others may replace.
  section.shuffle = True  # Whether each epoch has an order of its own.
  section.workers = 0  # Processes that read; 0 reads in this process.
  section.threads = 4  # Threads that read, in each process.
  return section


def conditions() -> ml_collections.ConfigDict:
  """What frozen networks make of records, further fields of `data`."""
  section = ml_collections.ConfigDict()
  # Latents and features: "cached", made once and kept, or "online", made for
  # each step.
  section.conditions = "cached"
  section.cache = ""  # Directory of what is kept; empty: in the workdir.
  section.random_crop = False  # Cut at a random place, not in the middle.
  # Random choices (places to cut, errors of depth) under which each record is
  # kept; online they are new in each step.
  section.variants = 1
  return section


def section(cls: type, **changes: object) -> ml_collections.ConfigDict:
  """The fields of a dataclass with its defaults, but for some of them."""
  return ml_collections.ConfigDict({**dataclasses.asdict(cls()), **changes})


def optimizer() -> ml_collections.ConfigDict:
  """AdamW; the fields of training.optimizer.OptimizerConfig tell the rest."""
  return section(
    optimizer_lib.OptimizerConfig,
    learning_rate=5e-4,
    b2=0.99,
    warmup_steps=50,
    schedule="cosine",  # Or "constant".
    final_fraction=0.05,
    ema_decay=0.995,
  )


def mesh() -> ml_collections.ConfigDict:
  """Devices along each axis; -1 takes the rest."""
  section = ml_collections.ConfigDict()
  section.data = 1  # Devices that divide the samples.
  section.fsdp = -1  # Devices that divide samples and parameters.
  section.context = 1  # Devices that divide the tokens.
  section.tensor = 1  # Devices that divide heads and widths.
  return section


def checkpoint(size: str) -> ml_collections.ConfigDict:
  """How often the state is written, and which states stay."""
  section = ml_collections.ConfigDict()
  # Steps between two checkpoints; 0: only by time. The end has one, and every
  # state that is evaluated.
  section.every = by_size(size, 200, 0)
  section.minutes = by_size(size, 0.0, 30.0)  # Between two; 0: only by steps.
  section.keep = by_size(size, 1, 2)  # Newest checkpoints that stay.
  # Besides, those with the lowest loss on held-out records.
  section.keep_best = by_size(size, 0, 1)
  section.keep_hours = 0.0  # Besides, one for each such time; 0: none.
  # "on": training goes on while a state is written; "off": it waits; "auto":
  # it goes on on accelerators.
  section.background = "auto"
  return section


def evaluation(size: str) -> ml_collections.ConfigDict:
  """Figures and videos on held-out records."""
  section = ml_collections.ConfigDict()
  # Steps between two evaluations; 0: only at the end.
  section.every = by_size(size, 500, 1000)
  section.records = 16  # Held-out records that are evaluated, at most.
  section.videos = 4  # Of these, how many are saved as videos.
  return section


def motion() -> ml_collections.ConfigDict:
  """How trajectories become motion.

  Source: docs/method/trajectories.md#normalisation.
  """
  section = ml_collections.ConfigDict()
  # Or "first_frame_range" (min-max), "global_max", "displacement".
  section.normalisation = "depth"
  # Camera factors: those of each record's intrinsics, or a fixed pair "ax,ay".
  section.alpha = "intrinsics"
  return section


def augment() -> ml_collections.ConfigDict:
  """Random choices when an example is made of a record."""
  section = ml_collections.ConfigDict()
  section.random_crop = True  # Cut at a random place, not in the middle.
  section.mirror_rate = 0.0  # Share of examples that are mirrored.
  return section


def transformer(size: str) -> ml_collections.ConfigDict:
  """Switches of the transformer and its encoders."""
  section = ml_collections.ConfigDict()
  section.attention = "auto"  # Implementation of kernels.attention.
  section.norm_rotary = "auto"  # Implementation of kernels.norm_rotary.
  # How attention crosses mesh.context: "ring" or "ulysses".
  section.context_attention = "ring"
  # Whether the text encoder is trained too, or frozen.
  section.train_text_encoder = by_size(size, True, False)
  # Whether the image encoder is trained too, or frozen.
  section.train_image_encoder = by_size(size, True, False)
  # Above 0 a LoRA of this rank is trained instead of the network, which
  # init_from names.
  section.lora_rank = 0
  section.lora_alpha = 64.0  # The LoRA's factor is alpha over rank.
  return section


def sampling(network: str, size: str) -> ml_collections.ConfigDict:
  """How evaluation samples, and later users unless they say otherwise.

  The fields of sampling.sampler_options.SamplerConfig that concern a network.
  """
  section = ml_collections.ConfigDict(sampler_options.section(network))
  section.num_steps = by_size(size, 20, 50)
  section.guidance_scale = by_size(size, 2.0, 6.0)
  section.shift = 0.0  # Of the noise levels; 0: as in training, flow.shift.
  return section


def flow() -> ml_collections.ConfigDict:
  """Flow matching in training; sampling reads it from a network's metadata.

  Source: docs/method/flow_matching.md#objective.
  """
  return section(flow_matching.FlowConfig)
