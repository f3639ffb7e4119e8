"""AdamW with warm-up and clipping on the trajectory transformer."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from more4d_jax.models import backbone
from more4d_jax.training import optimizer
from more4d_jax.training import state as states
from more4d_jax.training import step as steps
from tests.parity.adapters import wan_weights


def run(folder: pathlib.Path) -> dict[str, np.ndarray]:
  """Every required key of the folder; the network is the folder beside it."""
  info, stored, _ = wan_weights.read(folder)
  network, io, weights = wan_weights.read(folder.parent / "transformer4d")
  config = wan_weights.dit_config(
    network["constructor"], weights, io.get("in.features")
  )
  model = backbone.WanDiT(config)
  inputs = wan_weights.inputs(io, config)
  target = wan_weights.channels_last(io["in.grad_target"])
  rule = optimizer.OptimizerConfig(
    learning_rate=info["learning_rate"],
    b1=info["betas"][0],
    b2=info["betas"][1],
    eps=info["eps"],
    weight_decay=info["weight_decay"],
    clip=info["max_grad_norm"],
    warmup_steps=info["warmup_steps"],
    warmup_from_zero=True,
  )

  def loss(params, frozen, batch, keys):
    del frozen, batch, keys
    error = model.apply({"params": params}, **inputs) - target
    return jnp.mean(jnp.square(error)), {}

  count = len(stored["out.losses"])
  chain = optimizer.make_optimizer(rule, count, {})
  params = wan_weights.dit_params(weights, config)
  state = states.TrainState(
    jnp.int32(0), params, params, chain.init(params), jnp.int32(0)
  )
  step = jax.jit(steps.make_step(loss, chain, rule, 0))
  found = []
  for _ in range(count):
    state, metrics = step(state, {}, {})
    found.append(metrics)
  rate = optimizer.learning_rate(rule, count)
  return {
    "out.losses": np.stack([row["loss"] for row in found]),
    "out.gradient_norms": np.stack([row["gradient_norm"] for row in found]),
    "out.learning_rates": np.stack([rate(i) for i in range(count)]),
    **{
      key: wan_weights.dit_gradient(
        state.params, key.removeprefix("out.after."), like, config
      )
      for key, like in stored.items()
      if key.startswith("out.after.")
    },
  }
