"""Task `depth`."""

import functools
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from more4d_jax.data import transforms
from more4d_jax.evaluation import depth_metrics
from more4d_jax.experiment import settings
from more4d_jax.experiment import task as tasks
from more4d_jax.models.encoders import depth
from more4d_jax.training.objectives import base
from more4d_jax.training.objectives import depth as objective
from more4d_jax.viewing import panels


class DepthTask(tasks.Task):
  """Metric depth of single pictures."""

  kind = "depth"

  @property
  def network(self) -> depth.DepthConfig:
    """The configuration of the network."""
    return tasks.model(self.config, self.variant.depth)

  @property
  def objective(self) -> objective.DepthObjective:
    """The loss."""
    variant = self.variant
    return objective.DepthObjective(
      config=self.network,
      weights=settings.section(objective.DepthLoss, self.config.loss),
      image_size=(variant.height, variant.width),
    )

  def train_set(self) -> tasks.DataSet:
    """First frames, mirrored at random."""
    options = self.options(**self.config.augment.to_dict())
    return tasks.DataSet(
      self.records[0],
      tasks.random_example(transforms.depth_example, options),
    )

  def held_out(self) -> tasks.DataSet:
    """First frames."""
    transform = tasks.FixedExample(transforms.depth_example, self.options())
    return tasks.DataSet(self.records[1], transform)

  def look(
    self, params: Any, step: int, folder: pathlib.Path
  ) -> Mapping[str, float]:
    """Compares depth of held-out pictures with the truth."""
    examples = self.shown(transforms.depth_example)
    predict = tasks.compiled(
      functools.partial(_predict, self.objective.network), params
    )
    found = tasks.apply_in_batches(predict, examples)
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
      self.save(
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
