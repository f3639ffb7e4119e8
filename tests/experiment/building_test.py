"""A train step of every task, from its configuration alone."""

import jax
import numpy as np
import pytest

from more4d_jax import errors, partitioning, registry
from more4d_jax.experiment import building
from tests.experiment import configurations
from tests.training import nano_batches

_BATCHES = {
  "video_vae": nano_batches.video_batch,
  "depth": nano_batches.depth_batch,
  "motion_vae": nano_batches.motion_batch,
  "strag": nano_batches.strag_batch,
  "vism": nano_batches.vism_batch,
}


@pytest.mark.parametrize("kind", registry.NETWORKS)
def test_shapes_of_examples_are_those_that_the_loss_is_given(kind):
  # Batches of the objectives' own tests stand for real ones.
  example = configurations.task(kind).example
  batch = _BATCHES[kind](2)
  assert set(example) == set(batch)
  for name, leaf in example.items():
    assert (leaf.shape, leaf.dtype) == (
      batch[name].shape[1:],
      batch[name].dtype,
    )


@pytest.mark.slow  # Traces the gradient of a network.
@pytest.mark.parametrize("kind", registry.NETWORKS)
def test_a_step_needs_no_file(kind):
  task = configurations.task(kind, batch_size=8)
  mesh = building.make_mesh(task.config)
  step = building.train_step(task, mesh)
  state, metrics = step.trace().out_info
  assert metrics["loss"].shape == ()
  before, after = map(jax.tree.leaves, (step.state.params, state.params))
  assert [x.shape for x in before] == [x.shape for x in after]
  held = jax.tree.leaves(partitioning.unbox(step.trained))
  assert sum(np.prod(x.shape) for x in held) > 1_000


def test_heads_that_the_devices_do_not_divide_are_refused():
  task = configurations.task("strag", **{"mesh.tensor": 8, "mesh.fsdp": 1})
  mesh = building.make_mesh(task.config)
  with pytest.raises(errors.UserError, match=r"mesh.tensor is 8.* 4 heads"):
    building.train_step(task, mesh)


def test_a_batch_that_the_devices_cannot_share_is_refused():
  config = configurations.read("depth", batch_size=12)
  with pytest.raises(errors.UserError, match="batch_size is 12, but"):
    building.make_mesh(config)
  config = configurations.read("depth", **{"mesh.data": 3})
  with pytest.raises(errors.UserError):
    building.make_mesh(config)
