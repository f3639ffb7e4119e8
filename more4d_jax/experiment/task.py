"""What the tasks have in common, and what each must say of itself.

A task works in two phases. What follows from the configuration alone (the
network, the loss up to statistics, the shapes of a step) it says at once.
`open` reads files and gives `Opened`, a value, and everything that needs
records or trained networks takes that value.
"""

import abc
import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import jax
import numpy as np
from jax.sharding import Mesh

from more4d_jax import locations
from more4d_jax.checkpoints import store
from more4d_jax.conditions import cache
from more4d_jax.data import loader, transforms
from more4d_jax.experiment import (
  pretrained,
  record_splits,
  run_config,
  starting,
)
from more4d_jax.models import variants
from more4d_jax.models.encoders import tokenizer as tokenizers
from more4d_jax.training.objectives import base
from more4d_jax.viewing import video as video_lib


@dataclasses.dataclass(frozen=True)
class DataSet:
  """Items and how they become examples."""

  source: loader.Source
  transform: loader.Transform


@dataclasses.dataclass(frozen=True)
class Opened:
  """What a run has read before it builds anything.

  Attributes:
    training: records to train on.
    held_out: records to evaluate on.
    workdir: of the run.
    below: kind -> trained network that this one is trained on.
    start: the network to go on from, if any.
    tokenizer: of captions, for a task that reads them.
    outside: parameters of the parts of the network that no step has, nested
      dict of arrays in memory or on disk; see `Task.outside`.
  """

  training: loader.Source
  held_out: loader.Source
  workdir: locations.Location = pathlib.Path()
  below: Mapping[str, store.Network] = dataclasses.field(default_factory=dict)
  start: store.Network | None = None
  tokenizer: tokenizers.Tokenizer | None = None
  outside: Mapping[str, Any] = dataclasses.field(default_factory=dict)

  @property
  def trained_on(self) -> dict[str, str]:
    """Kind -> identity of the networks below this one."""
    return {k: v.metadata["identity"] for k, v in self.below.items()}

  @property
  def files(self) -> Mapping[str, locations.Location]:
    """Folders that belong to the trained network, by name."""
    folder = getattr(self.tokenizer, "folder", None)
    return {} if folder is None else {"tokenizer": folder}


class Task(abc.ABC):
  """One network to train.

  Attributes:
    config: of the run.
    variant: the networks of the size.
    kind: of network, as in `registry.NETWORKS`.
    config_class: of `config`.
    needs: kinds of the trained networks below this one.
  """

  kind: ClassVar[str]
  config_class: ClassVar[type[run_config.RunConfig]]
  needs: ClassVar[Sequence[str]] = ()

  def __init__(self, config: run_config.RunConfig):
    """Keeps the configuration; opens nothing."""
    self.config, self.variant = config, variants.get(config.size)

  @property
  @abc.abstractmethod
  def network(self) -> Any:
    """The configuration of the network."""

  @abc.abstractmethod
  def objective(self, opened: Opened | None = None) -> base.Objective:
    """The loss; for shapes alone where nothing is opened."""

  @property
  @abc.abstractmethod
  def example(self) -> Mapping[str, jax.ShapeDtypeStruct]:
    """Shapes of what the loss reads of one example, without batch axis."""

  @property
  def trainable(self) -> Sequence[str]:
    """Patterns of the paths of trained parameters."""
    return (".*",)

  def may_differ(self, found: Any) -> Sequence[str]:
    """Patterns of fields in which a network to go on from may be another.

    Args:
      found: its configuration.
    """
    del found
    return ()

  @property
  def outside(self) -> Sequence[str]:
    """Parts of the network that no step has: what they make is in batches."""
    return ()

  @property
  def frozen_dtype(self) -> str:
    """The type in which a step holds what it does not train."""
    return "float32"

  @property
  def multipliers(self) -> Mapping[str, float]:
    """Pattern of paths -> factor of the learning rate."""
    return {}

  @property
  def tokens(self) -> int:
    """Tokens of a sample that a transformer works on; 0 without one."""
    return 0

  def open(self, workdir: locations.Location) -> Opened:
    """Opens records and the networks that the configuration names.

    Raises:
      UserError: for what is not named, absent, damaged or does not fit.
    """
    below = {k: pretrained.load(self.config, k) for k in self.needs}
    start = pretrained.start(self.config)
    if start is not None:
      may_differ = self.may_differ(start.config)
      starting.check(self.kind, start.config, self.network, may_differ)
    training, held_out = record_splits.open_splits(self.config.data)
    return Opened(training, held_out, workdir, below, start)

  def initial_params(self, opened: Opened) -> Mapping[str, Any]:
    """Parameters that are not initialised: a part of the nested dict."""
    return {} if opened.start is None else opened.start.params

  def prepare(self, opened: Opened) -> None:  # noqa: B027 (most tasks read records as they are)
    """Makes what the data sets are read from, where it is missing."""

  def encoder(self, opened: Opened, mesh: Mesh) -> cache.Encode | None:
    """What makes a batch of the data sets one that the loss takes, if needed.

    Args:
      opened: by `open`.
      mesh: where batches are.
    """
    del opened, mesh

  @abc.abstractmethod
  def train_set(self, opened: Opened) -> DataSet:
    """What is trained on."""

  @abc.abstractmethod
  def held_out(self, opened: Opened) -> DataSet:
    """What the loss is evaluated on."""

  def evaluate(
    self, opened: Opened, params: Any, step: int, folder: locations.Location
  ) -> Mapping[str, float]:
    """Saves videos of held-out records and returns figures.

    Every process calls it, under the mesh of the run.

    Args:
      opened: by `open`.
      params: the whole network's, averaged, as `assembled` gives them.
      step: number of finished steps.
      folder: of the videos.
    """
    del opened, params, step, folder
    return {}

  def assembled(self, params: Any) -> Any:
    """The network's own parameters, of those that the objective has.

    They stay divided over the mesh of the run, in which it is called.
    """
    return params

  def write_beside(self, params: Any, workdir: locations.Location) -> None:  # noqa: B027 (most tasks write nothing more)
    """Writes files beside the finished network, of the objective's params."""

  def metadata(self, opened: Opened, params: Any) -> dict[str, Any]:
    """What sampling must know, besides the size."""
    del opened, params
    return {}

  @property
  def size(self) -> dict[str, Any]:
    """Size of clips, part of every network's metadata."""
    variant = self.variant
    return {
      "size": variant.name,
      "frames": variant.frames,
      "height": variant.height,
      "width": variant.width,
    }

  def options(self, **changes: Any) -> transforms.ExampleOptions:
    """Frames and size of examples."""
    variant = self.variant
    return transforms.ExampleOptions(
      frames=variant.frames,
      height=variant.height,
      width=variant.width,
      **changes,
    )

  def shown_records(self, opened: Opened) -> record_splits.Subset:
    """The held-out records that evaluation looks at."""
    count = min(self.config.evaluation.records, len(opened.held_out))
    return record_splits.Subset(opened.held_out, range(count))

  def shown_examples(
    self, opened: Opened, function: Any
  ) -> list[dict[str, Any]]:
    """Examples of the held-out records that evaluation looks at."""
    records = self.shown_records(opened)
    return [function(records[i], self.options()) for i in range(len(records))]

  def save_video(
    self, folder: locations.Location, step: int, number: int, frames: np.ndarray
  ) -> None:
    """Saves one video unless there are enough of them."""
    if number < self.config.evaluation.videos and jax.process_index() == 0:
      folder.mkdir(parents=True, exist_ok=True)
      path = folder / f"step_{step:07d}_{number:02d}.mp4"
      with locations.written_here(path) as file:
        video_lib.write_video(file, frames, fps=8, min_side=192)


def random_example(
  function: Any, options: transforms.ExampleOptions
) -> transforms.RandomExample:
  """An example function with random choices."""
  return transforms.RandomExample(function, options)


@dataclasses.dataclass(frozen=True)
class FixedExample:
  """An example function without random choices."""

  function: Any
  options: transforms.ExampleOptions

  def __call__(self, item: transforms.Item) -> dict[str, Any]:
    """Returns the example of a record."""
    return self.function(item, self.options)
