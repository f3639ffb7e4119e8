"""One training step of 4D-STraG on cached conditions, as in the trainer."""

import time

import jax
import jax.numpy as jnp

from benchmarks.device import measuring, networks
from more4d_jax import partitioning
from more4d_jax.models import flow_matching, strag, variants
from more4d_jax.training import optimizer, state, step
from more4d_jax.training.objectives import flow


def _loss(module: strag.STraG):
  """Flow matching on latents whose conditions are given."""

  def loss(params, frozen, batch, keys):
    del frozen
    given = strag.STraGConditions(**batch["conditions"])

    def velocity(noisy, timestep):
      return module.apply({"params": params}, noisy, timestep, given)

    config = flow_matching.FlowConfig()
    return flow.flow_loss(velocity, batch["latents"], config, keys)

  return loss


def main() -> None:
  """Prints one line for a batch of one clip."""
  short = measuring.reduced(__doc__)
  variant = variants.get("nano" if short else "1p3b")
  line = {"size": variant.name, "batch": 1, "weights": "float32"}
  with measuring.attempt(line):
    mesh = measuring.device_mesh()
    config = optimizer.OptimizerConfig()
    chain = optimizer.make_optimizer(config, 100, {})
    shapes = networks.boxed_shapes(variant)
    with jax.set_mesh(mesh):
      params = networks.parameters(variant, jnp.float32)
      latents, given = networks.conditions(variant, 1)
    current = state.create_state(params, shapes, chain, mesh)
    del params
    place = state.state_shardings(mesh, state.abstract_state(shapes, chain))
    run = step.jit_step(
      step.make_step(_loss(strag.STraG(variant.strag)), chain, config, seed=0),
      mesh,
      place,
      partitioning.replicated(mesh),
    )
    values = {k: v for k, v in vars(given).items() if v is not None}
    batch = {"latents": latents, "conditions": values}
    current, metrics = run(current, {}, batch)
    jax.block_until_ready(metrics)
    started, repetitions = time.perf_counter(), 3
    for _ in range(repetitions):
      current, metrics = run(current, {}, batch)
    jax.block_until_ready((current, metrics))
    taken = (time.perf_counter() - started) / repetitions
    # Forward, backward, and the layers once more where they are recomputed.
    passes = 3 if variant.strag.dit.remat == "none" else 4
    flops = networks.forward_flops(variant.strag.dit, variant.latent_grid)
    line |= {
      "seconds": round(taken, 4),
      **measuring.speed(passes * flops, taken),
      "loss": round(float(metrics["loss"]), 4),
      "peak_gib": measuring.peak_gib(),
    }


if __name__ == "__main__":
  main()
