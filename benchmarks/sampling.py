"""Times the samplers, and what leaving work out saves.

Run from the repository: python benchmarks/sampling.py [--size tiny]
It prints one JSON line per case: seconds of a drawn STraG latent (median of
five, compiled before), steps with guidance and steps whose layers ran. Weights
are random: how often TeaCache runs the layers of trained ones differs.
"""

import argparse
import json
import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np

from more4d_jax import partitioning
from more4d_jax.models import strag, variants
from more4d_jax.sampling import (
  caching,
  denoising,
  networks,
  sampler_options,
)

CASES = {
  "euler": {},
  "unipc": {"sampler": "unipc"},
  "dpm++": {"sampler": "dpm++"},
  "euler, half guided": {"cfg_skip": 0.5},
  "euler, teacache 1": {"teacache": 1.0},
  "euler, both": {"cfg_skip": 0.5, "teacache": 1.0},
}


def _network(
  config: strag.STraGConfig, grid: tuple[int, int, int]
) -> tuple[networks.BoundModule, strag.STraGConditions, jax.Array]:
  """A network with random weights, its conditions, and noise."""
  generator = np.random.default_rng(0)

  def normal(*shape: int) -> jax.Array:
    return jnp.asarray(generator.standard_normal(shape), jnp.float32)

  patches = int(np.prod(config.dit.motion_grid))
  latents = normal(1, *grid, strag.LATENT_CHANNELS)
  conditions = strag.STraGConditions(
    text_context=normal(1, config.text.length, config.text.width),
    control=latents,
    depth=latents,
    reference=latents[:, 0],
    motion_features=normal(1, patches, config.motion.width),
  )
  module = strag.STraG(config)
  shapes = jax.eval_shape(
    lambda key: module.init(key, latents, jnp.ones(1), conditions)["params"],
    jax.random.key(0),
  )
  params = jax.tree.map(
    lambda leaf: normal(*leaf.shape) / np.sqrt(max(leaf.shape[-2:])),
    partitioning.unbox(shapes),
  )
  return networks.BoundModule(params, module), conditions, latents


def main() -> None:
  """Times every case."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--size", default="tiny")
  parser.add_argument("--steps", type=int, default=20)
  arguments = parser.parse_args()
  variant = variants.get(arguments.size)
  model, conditions, noise = _network(variant.strag, variant.latent_grid)
  for name, changes in CASES.items():
    sampler = sampler_options.SamplerConfig(arguments.steps, 2.0, **changes)
    run = lambda s=sampler: jax.block_until_ready(  # noqa: E731
      denoising.draw(model, conditions, conditions, noise, s)
    )
    computed = int(run().computed.sum())
    seconds = []
    for _ in range(5):
      started = time.perf_counter()
      run()
      seconds.append(time.perf_counter() - started)
    line = {
      "case": name,
      "size": arguments.size,
      "steps": arguments.steps,
      "seconds": round(statistics.median(seconds), 4),
      "guided_steps": caching.guided_steps(sampler),
      "computed_steps": computed,
    }
    print(json.dumps(line))


if __name__ == "__main__":
  main()
