"""What to tell of a step that was not finite: its records, the first tensor."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
from jax.sharding import Mesh

from more4d_jax.data import loader as loaders
from more4d_jax.experiment import run_config
from more4d_jax.training import nonfinite
from more4d_jax.training import state as states
from more4d_jax.training import step as steps

_SHOWN = 8  # Records in a message.


def record_ids(
  records: Sequence[Any],
  examples: int,
  config: loaders.LoaderConfig,
  position: Mapping[str, Any],
) -> list[str]:
  """Ids of the records of a batch.

  Args:
    records: that are trained on.
    examples: that are made of them; those of a record are in a row.
    config: of the loader.
    position: of the loader after the batch.
  """
  of_a_record = max(examples // len(records), 1)
  return [
    str(records[number // of_a_record].decode(("id",))["id"])
    for number in loaders.numbers(examples, config, position)
  ]


def first_tensor(
  loss: steps.LossFn,
  state: states.TrainState,
  frozen: Any,
  batch: Any,
  config: run_config.RunConfig,
  mesh: Mesh,
) -> str:
  """Names the first tensor of a step's gradient that is not finite.

  Args:
    loss: of a batch.
    state: before the step, or as near to it as there is.
    frozen: parameters that are not trained.
    batch: of the step.
    config: of the run.
    mesh: where all of it lies.
  """

  def gradient(params: Any, frozen: Any, batch: Any) -> Any:
    now = state.replace(params=params)
    return steps.gradients(
      loss, now, frozen, batch, config.seed, config.memory.accumulate
    )

  with jax.set_mesh(mesh):
    found = nonfinite.first(gradient, state.params, frozen, batch)
  if found is None:
    return "with the parameters as they are now every tensor is finite"
  return f"the first tensor that is not finite: {found}"


def message(ids: list[str], tensor: str) -> str:
  """Both in words."""
  shown = ", ".join(ids[:_SHOWN])
  more = f" and {len(ids) - _SHOWN} more" if len(ids) > _SHOWN else ""
  return f"its records are {shown}{more}; {tensor}"
