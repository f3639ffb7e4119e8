"""The common part of the five tasks, and the interface that each fills."""

import abc
import dataclasses
import functools
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from more4d_jax import errors
from more4d_jax.cli import lists
from more4d_jax.data import loader, transforms
from more4d_jax.experiment import pretrained, record_splits, settings
from more4d_jax.models import latent_stats, variants
from more4d_jax.models.encoders import tokenizer
from more4d_jax.training.objectives import base
from more4d_jax.viewing import video as video_lib

_STATISTICS_BATCH = 8


@dataclasses.dataclass(frozen=True)
class DataSet:
  """Items and how they become examples."""

  source: loader.Source
  transform: loader.Transform


class Task(abc.ABC):
  """One network to train. Making it opens no file; `prepare` does.

  Attributes:
    config: the whole configuration.
    variant: the networks of the size.
    workdir: of the run, None where nothing is trained.
    kind: of network.
  """

  kind: str

  def __init__(
    self,
    config: ml_collections.ConfigDict,
    workdir: pathlib.Path | None = None,
  ):
    """Reads the configuration."""
    self.config, self.workdir = config, workdir
    try:
      self.variant = variants.get(config.size)
    except ValueError as error:
      raise errors.UserError(str(error)) from error
    self._sets: tuple[loader.Source, loader.Source] | None = None

  @property
  @abc.abstractmethod
  def network(self) -> Any:
    """The configuration of the network."""

  @property
  @abc.abstractmethod
  def objective(self) -> base.Objective:
    """The loss."""

  @property
  def trainable(self) -> Sequence[str]:
    """Patterns of the paths of trained parameters."""
    return (".*",)

  @property
  def multipliers(self) -> Mapping[str, float]:
    """Pattern of paths -> factor of the learning rate."""
    return {}

  def prepare(self) -> None:  # noqa: B027 (most tasks need none)
    """Loads the networks that the task needs."""

  def loaded(self) -> Mapping[str, Any]:
    """Parameters that are not initialised: a part of the nested dict."""
    network = pretrained.load(self.config, self.kind, needed=False)
    if network is None:
      return {}
    found, wanted = map(settings.portable, (network.config, self.network))
    if found != wanted:
      raise errors.UserError(
        f"the {self.kind} in init_from.{self.kind} was built differently from "
        "this config: use one trained with the same model fields"
      )
    return network.params

  @abc.abstractmethod
  def train_set(self) -> DataSet:
    """What is trained on."""

  @abc.abstractmethod
  def held_out(self) -> DataSet:
    """What the loss is evaluated on."""

  def look(
    self, params: Any, step: int, folder: pathlib.Path
  ) -> Mapping[str, float]:
    """Saves videos of held-out records and returns figures.

    Args:
      params: the whole network's, averaged, in host memory.
      step: number of finished steps.
      folder: exists.
    """
    del params, step, folder
    return {}

  def assembled(self, params: Any) -> Any:
    """The network's own parameters, of those that the objective has."""
    return params

  def write_beside(self, params: Any, workdir: pathlib.Path) -> None:  # noqa: B027 (most tasks write nothing more)
    """Writes files beside the finished network, of the objective's params."""

  def metadata(self, params: Any) -> dict[str, Any]:
    """What sampling must know, besides the size."""
    del params
    return {}

  @property
  def trained_on(self) -> dict[str, str]:
    """Kind -> identity of the networks below this one; after `prepare`."""
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

  @property
  def records(self) -> tuple[loader.Source, loader.Source]:
    """Training and held-out records, opened once."""
    if self._sets is None:
      self._sets = record_splits.open_sets(self.config.data)
    return self._sets

  def options(self, **changes: Any) -> transforms.ExampleOptions:
    """Frames and size of examples."""
    variant = self.variant
    return transforms.ExampleOptions(
      frames=variant.frames,
      height=variant.height,
      width=variant.width,
      **changes,
    )

  def shown(self, function: Any) -> list[dict[str, Any]]:
    """Examples of the held-out records that are evaluated."""
    held = self.records[1]
    count = min(self.config.evaluation.records, len(held))
    return [function(held[i], self.options()) for i in range(count)]

  def save(
    self, folder: pathlib.Path, step: int, number: int, frames: np.ndarray
  ) -> None:
    """Saves one video unless there are enough of them."""
    if number < self.config.evaluation.videos and jax.process_index() == 0:
      folder.mkdir(parents=True, exist_ok=True)
      path = folder / f"step_{step:07d}_{number:02d}.mp4"
      video_lib.write_video(path, frames, fps=8, min_side=192)


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


def cached(item: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
  """Examples of a cache are ready."""
  return item


def byte_tokenizer(length: int, vocabulary: int) -> tokenizer.ByteTokenizer:
  """The tokenizer of a text encoder.

  Raises:
    UserError: if its vocabulary is not made of bytes.
  """
  if vocabulary < tokenizer.BYTE_VOCABULARY:
    raise errors.UserError(
      f"the text encoder reads {vocabulary} kinds of tokens, fewer than the "
      f"{tokenizer.BYTE_VOCABULARY} of bytes: use a larger vocabulary"
    )
  return tokenizer.ByteTokenizer(length)


def compiled(function: Any, params: Any) -> Any:
  """Compiles `function(params, batch)` and gives it its parameters.

  They are arguments of the program; as parts of `function` they would become
  constants of it, a second copy that the compiler looks through.

  Returns: a function of the batch.
  """
  return functools.partial(jax.jit(function), params)


def measure_latents(
  encode: Any, batches: Iterable[Mapping[str, np.ndarray]], channels: int
) -> latent_stats.LatentStats:
  """Mean and standard deviation of latents, the posterior's own included.

  Args:
    encode: batch -> (mean, log-variance), compiled.
    batches: of training examples.
    channels: of a latent.
  """
  moments = latent_stats.LatentMoments(channels)
  for batch in batches:
    mean, logvar = jax.device_get(encode(batch))
    moments.add(mean, logvar)
  return moments.stats()


def statistics_batches(
  data: DataSet, count: int
) -> Iterable[dict[str, np.ndarray]]:
  """The first `count` examples of a data set, each once, in batches."""
  chosen = record_splits.Selected(
    data.source, range(min(count, len(data.source)))
  )
  return loader.batches_in_order(chosen, data.transform, _STATISTICS_BATCH)


def apply_in_batches(
  function: Any, examples: Sequence[Mapping[str, Any]], size: int = 8
) -> np.ndarray:
  """Applies a compiled function to stacked examples, `size` at a time."""
  found = []
  for first in range(0, len(examples), size):
    batch = loader.stack(list(examples[first : first + size]))
    found.append(np.asarray(function(jax.tree.map(jnp.asarray, batch))))
  return np.concatenate(found)


def cache_root(
  config: ml_collections.ConfigDict, workdir: pathlib.Path | None
) -> pathlib.Path:
  """Where latents are kept: as configured, or in the workdir."""
  if config.data.cache:
    return pathlib.Path(config.data.cache)
  return pathlib.Path(workdir) / "cache"


def data_fingerprint(
  config: ml_collections.ConfigDict, name: str, count: int
) -> list[Any]:
  """What a cache of the training or held-out records is made from.

  Args:
    config: the whole configuration.
    name: "train" or "held_out".
    count: number of records.
  """
  data = config.data
  held = name == "held_out" and data.held_out
  names = lists.directories(data.held_out if held else data.records)
  first = [name, data.num_held_out] if not held else [name]
  return [*first, count, record_splits.fingerprint(names)]


def model(config: ml_collections.ConfigDict, network: Any) -> Any:
  """A network's configuration with the config's dtype."""
  return settings.replace_model(network, dtype=config.dtype)
