"""Task `depth`."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from more4d_jax import locations
from more4d_jax.data import transforms
from more4d_jax.evaluation import depth_metrics
from more4d_jax.experiment import measurement, model_config, run_config
from more4d_jax.experiment import task as tasks
from more4d_jax.models.encoders import depth
from more4d_jax.training.objectives import base
from more4d_jax.training.objectives import depth as objective
from more4d_jax.viewing import panels


@dataclasses.dataclass(frozen=True)
class InitFrom:
  """Optional: weights to go on from."""

  depth: str


@dataclasses.dataclass(frozen=True)
class DepthRunConfig(run_config.RunConfig):
  """Besides what every task has: `augment` of pictures, `loss` weights."""

  init_from: InitFrom
  augment: run_config.AugmentConfig
  loss: objective.DepthLoss


class DepthTask(tasks.Task):
  """Metric depth of single pictures."""

  kind = "depth"
  config_class = DepthRunConfig
  config: DepthRunConfig

  @property
  def network(self) -> depth.DepthConfig:
    """The configuration of the network."""
    return model_config.replace_fields(
      self.variant.depth,
      dtype=self.config.dtype,
      remat=self.config.memory.remat,
    )

  def objective(
    self, opened: tasks.Opened | None = None
  ) -> objective.DepthObjective:
    """The loss."""
    del opened
    variant = self.variant
    return objective.DepthObjective(
      config=self.network,
      weights=self.config.loss,
      image_size=(variant.height, variant.width),
    )

  @property
  def example(self) -> Mapping[str, jax.ShapeDtypeStruct]:
    """A picture and its depth."""
    size = (self.variant.height, self.variant.width)
    return {
      "image": jax.ShapeDtypeStruct((*size, 3), jnp.uint8),
      "depth": jax.ShapeDtypeStruct(size, jnp.float32),
    }

  def train_set(self, opened: tasks.Opened) -> tasks.DataSet:
    """First frames, mirrored at random."""
    options = self.options(**dataclasses.asdict(self.config.augment))
    return tasks.DataSet(
      opened.training,
      tasks.random_example(transforms.depth_example, options),
    )

  def held_out(self, opened: tasks.Opened) -> tasks.DataSet:
    """First frames."""
    transform = tasks.FixedExample(transforms.depth_example, self.options())
    return tasks.DataSet(opened.held_out, transform)

  def evaluate(
    self,
    opened: tasks.Opened,
    params: Any,
    step: int,
    folder: locations.Location,
  ) -> Mapping[str, float]:
    """Compares depth of held-out pictures with the truth."""
    examples = self.shown_examples(opened, transforms.depth_example)
    predict = measurement.compiled(
      functools.partial(_predict, self.objective().network), params
    )
    found = measurement.apply_in_batches(predict, examples)
    true = np.stack([e["depth"] for e in examples])
    for number, example in enumerate(examples):
      valid = true[number][depth_metrics.valid_depth(true[number])]
      if not valid.size:
        continue
      limits = (float(valid.min()), float(valid.max()))
      shown = [
        example["image"][None],
        panels.depth_colours(found[number : number + 1], limits),
        panels.depth_colours(true[number : number + 1], limits),
      ]
      self.save_video(
        folder,
        step,
        number,
        panels.side_by_side(shown, ("picture", "predicted", "true")),
      )
    figures = depth_metrics.depth_figures(found, true)
    return {name: figures[name] for name in ("absolute_relative", "relative")}


def _predict(
  network: depth.DepthNetwork, params: Any, batch: Mapping[str, Any]
) -> Any:
  return network.apply({"params": params}, base.unit_image(batch["image"]))
