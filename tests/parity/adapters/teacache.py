"""Transformer whose layers are left out while its modulation drifts little."""

import functools
import pathlib
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from more4d_jax.models import backbone
from more4d_jax.sampling import caching, networks
from tests.parity.adapters import stated, wan_weights

_TIMES = r"t = # ?± ?# ?\* ?i"


def _embedded(model, rows, fixed, length):
  """What `embed` returns under the modulation stored for a step."""
  latents, timestep, modulation = rows
  conditions = backbone.Conditions(fixed)
  embed = functools.partial(
    model.module.apply, method="embed", sequence_length=length
  )
  times = jnp.full(latents.shape[0], timestep, jnp.float32)
  tokens, inputs, head = embed(
    {"params": model.params}, latents, times, conditions
  )
  return tokens, inputs.replace(modulation=modulation[:, None]), head


@functools.partial(jax.jit, static_argnames="length")
def _follow(model, rows, text, policy, length):
  """Velocities, decisions and added-up changes over one run of steps."""

  def step(cache, row):
    number, *rest = row
    embedded = _embedded(model, rest, text, length)
    velocity, cache, computed = caching.velocity(
      model, embedded, number, cache, policy
    )
    return cache, (velocity, computed, cache.distance)

  first = jax.tree.map(lambda a: a[0], rows)
  tokens, inputs, _ = jax.eval_shape(
    lambda: _embedded(model, first, text, length)
  )
  cache = caching.start(tokens, inputs.modulation)
  numbers = jnp.arange(len(rows[1]))
  return jax.lax.scan(step, cache, (numbers, *rows))[1]


def _run(model, rows, text, run: dict[str, Any], length: int) -> dict:
  """All steps; after `num_steps` of them a sampler starts afresh."""
  policy = caching.policy(
    run["rel_l1_thresh"], run["num_skip_start_steps"], run["coefficients"]
  )
  total, parts = run["num_steps"], []
  for first in range(0, len(rows[1]), total):
    part = tuple(values[first : first + total] for values in rows)
    velocity, computed, distance = _follow(model, part, text, policy, length)
    distance = np.array(distance)
    counter = np.arange(1, len(part[1]) + 1) % total
    distance[counter == 0] = 0  # The last step leaves nothing behind.
    parts.append((velocity, computed, distance, counter))
  velocity, computed, distance, counter = map(np.concatenate, zip(*parts))
  return {
    "output": np.moveaxis(velocity, -1, 2),
    "calculated": computed,
    "accumulated_after": distance,
    "counter_after": counter,
  }


def run(folder: pathlib.Path) -> dict[str, np.ndarray]:
  """Every required key of the folder."""
  info, io, weights = wan_weights.read(folder)
  width = info["constructor"]["dim"]
  # The stored modulation stands for this layer, which the folder leaves out.
  weights = {
    "time_projection.1.weight": np.zeros((6 * width, width), np.float32),
    "time_projection.1.bias": np.zeros(6 * width, np.float32),
    **weights,
  }
  config = wan_weights.dit_config(info["constructor"], weights)
  model = networks.BoundModule(
    wan_weights.dit_params(weights, config), backbone.WanDiT(config)
  )
  latents = np.moveaxis(io["in.x"], 2, -1)
  start, change = stated.numbers(_TIMES, info["timesteps"])
  times = np.float32(start + change * np.arange(len(latents)))
  text = jnp.asarray(wan_weights.text_context(io, config.text_length))
  out = {}
  for name, settings in info["runs"].items():
    if f"out.{name}.output" not in io:
      continue
    fine = "_fine" if name.startswith("wan") else ""
    rows = (latents, times, io[f"in.modulation{fine}"])
    found = _run(model, rows, text, settings, info["seq_len"])
    out |= {f"out.{name}.{key}": value for key, value in found.items()}
  rows = (latents, times, io["in.modulation"])
  never = {
    "rel_l1_thresh": 0.0,
    "num_skip_start_steps": len(latents),
    "coefficients": caching.FITS["plain"],
    "num_steps": len(latents),
  }
  found = _run(model, rows, text, never, info["seq_len"])
  out["out.without_cache"] = found["output"]
  for key in io:
    if match := re.fullmatch(r"out\.rel_l1_(\d+)_(\d+)", key):
      before, now = (io["in.modulation"][int(i)] for i in match.groups())
      out[key] = np.asarray(caching.relative_change(before, now))
  return out
