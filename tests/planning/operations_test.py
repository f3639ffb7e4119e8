"""Counts of operations against closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, PartitionSpec

from benchmarks.device import networks
from more4d_jax import partitioning
from more4d_jax.experiment import building
from more4d_jax.kernels.attention import dispatch
from more4d_jax.models import abstract, strag, variants
from more4d_jax.planning import operations
from tests.experiment import configurations


def _count(function, *shapes):
  shapes = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
  return operations.count(jax.jit(function).trace(*shapes).jaxpr)


def test_products():
  assert _count(jnp.matmul, (3, 5), (5, 7)) == 2 * 3 * 5 * 7
  assert _count(jnp.matmul, (4, 3, 5), (4, 5, 7)) == 4 * 2 * 3 * 5 * 7
  assert _count(jnp.add, (3, 5), (3, 5)) == 0


def test_convolutions_and_their_gradients():
  def convolve(x, kernel):
    return jax.lax.conv_general_dilated(
      x, kernel, (2, 2), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )

  shapes = (1, 9, 9, 3), (3, 3, 3, 5)
  forward = 2 * 16 * 5 * 27  # 4 x 4 places.
  assert _count(convolve, *shapes) == forward
  gradient = jax.grad(lambda x, k: convolve(x, k).sum(), 1)
  assert _count(gradient, *shapes) == pytest.approx(2 * forward, rel=0.01)


def test_layers_count_as_often_as_they_run():
  def scanned(x, weights):
    layer = jax.checkpoint(lambda x, w: (jnp.sin(x @ w), None))
    return jax.lax.scan(layer, x, weights)[0]

  one = 2 * 2 * 8 * 8
  shapes = (2, 8), (6, 8, 8)
  assert _count(scanned, *shapes) == 6 * one
  gradient = jax.grad(lambda x, w: scanned(x, w).sum(), 1)
  # Forward, once more, and a product for each of its factors.
  assert _count(gradient, *shapes) == 6 * 4 * one


def test_devices_that_repeat_each_other_count():
  mesh = Mesh(np.array(jax.devices()[:4]).reshape(2, 2), ("a", "b"))
  divided, whole = PartitionSpec("a"), PartitionSpec()
  product = jax.shard_map(
    jnp.matmul, mesh=mesh, in_specs=(divided, whole), out_specs=divided
  )
  # Halves of the rows, each on two devices.
  assert _count(product, (8, 5), (5, 7)) == 2 * 2 * 8 * 5 * 7


@pytest.mark.parametrize("implementation", ["auto", "plain"])
def test_attention(implementation):
  def attend(q, k, v):
    out = dispatch.attention(q, k, v, implementation=implementation)
    return jnp.sum(out)

  shape = (1, 1024, 4, 128)
  forward = 4 * 4 * 1024**2 * 128
  assert _count(attend, *[shape] * 3) == forward
  # Weights are formed again: five products beside the forward pass's two.
  found = _count(jax.grad(attend, (0, 1, 2)), *[shape] * 3)
  assert found == pytest.approx(3.5 * forward)


@pytest.mark.parametrize("size", ["1p3b", "14b"])
def test_a_forward_pass_is_the_closed_form(size):
  variant = variants.get(size)
  module = strag.STraG(variant.strag)

  def forward(params):
    latents, given = networks.conditions(variant, 1)
    return module.apply({"params": params}, latents, jnp.ones(1), given)

  shapes = partitioning.unbox(abstract.boxed_shapes("strag", module))
  traced = jax.jit(forward).trace({"dit": shapes["dit"]})
  expected = networks.forward_flops(variant.strag.dit, variant.latent_grid)
  assert operations.count(traced.jaxpr) == pytest.approx(expected, rel=0.05)


@pytest.mark.slow  # Traces a gradient.
def test_a_train_step_is_the_closed_form():
  task = configurations.task(
    "vism", size="small", batch_size=8, **{"model.train_text_encoder": False}
  )
  mesh = partitioning.make_mesh(partitioning.MeshConfig(), jax.devices()[:1])
  step = building.train_step(task, mesh)
  found = operations.count(step.trace().jaxpr)
  dit, grid = task.network.dit, task.variant.latent_grid
  forward = networks.forward_flops(dit, grid)
  tokens = grid[0] * grid[1] * grid[2] // 4
  attention = (
    4 * dit.num_layers * dit.width * tokens * (tokens + dit.text_length)
  )
  # Each product: forward, again, and two in the backward pass; of attention's
  # two products there are five.
  expected = 8 * (4 * forward + attention / 2)
  assert found == pytest.approx(expected, rel=0.05)
