"""The 1.3B 4D-STraG and the video autoencoder at the size people use, run.

  python -m benchmarks.real_size [--reduced]

Three parts, each in a process of its own, on whatever device jax finds:

- step: one Euler step of the transformer with random float32 weights on a clip
  of 49 x 368 x 512 (10,304 tokens), without guidance.
- layers: the same network with two layers, once as the stack that is compiled
  once (scan), once layer after layer; both velocities are compared.
- decode: the video autoencoder, latents to 49 frames.

One line of JSON for each: seconds of compiling and of running, and the
process's largest resident memory, libraries and compiler included. --reduced
runs the size of the tests.
"""

import argparse
import dataclasses
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.device import networks as random_networks
from more4d_jax import partitioning
from more4d_jax.models import blocks, strag, variants, video_vae
from more4d_jax.sampling import networks

SIGMAS = (1.0, 0.98)  # Noise levels before and after the step.


def velocity(module: strag.STraG, params: Any, latents: Any, given: Any) -> Any:
  """The network's velocity at the first noise level."""
  timestep = jnp.full(latents.shape[:1], 1000 * SIGMAS[0])
  return module.apply({"params": params}, latents, timestep, given)


def unrolled(module: strag.STraG, params: Any, latents: Any, given: Any) -> Any:
  """`velocity`, its layers applied one after the other."""
  timestep = jnp.full(latents.shape[:1], 1000 * SIGMAS[0])
  variables, dit = {"params": params}, module.config.dit
  tokens, inputs, head = module.apply(
    variables, latents, timestep, given, method="embed"
  )
  block = blocks.Block(dit.layer, dit.ffn_width)
  for index in range(dit.num_layers):
    layer = jax.tree.map(lambda x, i=index: x[i], params["dit"]["blocks"])
    tokens, _ = block.apply({"params": layer}, tokens, inputs)
  return module.apply(variables, tokens, head, method="finish")


def timed(function: Callable[..., Any], *values: Any) -> tuple[Any, dict]:
  """What a function gives, and seconds of compiling and of running it."""
  start = time.monotonic()
  compiled = jax.jit(function).lower(*values).compile()
  middle = time.monotonic()
  found = jax.block_until_ready(compiled(*values))
  end = time.monotonic()
  temporaries = compiled.memory_analysis().temp_size_in_bytes
  return found, {
    "compile_seconds": round(middle - start, 1),
    "run_seconds": round(end - middle, 2),
    "temporaries_gib": round(temporaries / 2**30, 2),
  }


def step(variant: variants.Variant) -> dict[str, Any]:
  """One step of the whole transformer."""
  module = strag.STraG(variant.strag)
  params = random_networks.parameters(variant, jnp.float32)
  latents, given = random_networks.conditions(variant, 1)

  def euler(params: Any, latents: Any, given: Any) -> Any:
    moved = velocity(module, params, latents, given)
    return latents + (SIGMAS[1] - SIGMAS[0]) * moved, moved

  (after, moved), line = timed(euler, params, latents, given)
  flops = random_networks.forward_flops(variant.strag.dit, variant.latent_grid)
  return line | {
    "parameters": sum(leaf.size for leaf in jax.tree.leaves(params)),
    "gflops": round(flops / line["run_seconds"] / 1e9, 1),
    "finite": bool(jnp.isfinite(after).all() & jnp.isfinite(moved).all()),
    "velocity_rms": round(float(jnp.sqrt(jnp.mean(moved**2))), 4),
  }


def layers(variant: variants.Variant) -> dict[str, Any]:
  """Both forms of two layers, and how far they are apart."""
  dit = dataclasses.replace(variant.strag.dit, num_layers=2)
  config = dataclasses.replace(variant.strag, dit=dit)
  variant = dataclasses.replace(variant, strag=config)
  module = strag.STraG(config)
  params = random_networks.parameters(variant, jnp.float32)
  latents, given = random_networks.conditions(variant, 1)
  found, line = {}, {}
  for name, form in (("scan", velocity), ("unrolled", unrolled)):
    function = lambda *values, form=form: form(module, *values)  # noqa: E731
    found[name], seconds = timed(function, params, latents, given)
    line |= {f"{name}_{key}": value for key, value in seconds.items()}
  apart = jnp.abs(found["scan"] - found["unrolled"]).max()
  return line | {
    "finite": bool(jnp.isfinite(found["scan"]).all()),
    "relative_error": float(apart / jnp.abs(found["unrolled"]).max()),
  }


def decode(variant: variants.Variant) -> dict[str, Any]:
  """Latents to frames, chunk by chunk where the clip is long."""
  module = video_vae.VideoVAE(variant.video_vae)
  params = jax.jit(
    lambda key: partitioning.unbox(
      module.init(key, jnp.zeros((1, 5, 32, 32, 3)))["params"]
    )
  )(jax.random.key(0))
  shape = (1, *variant.latent_grid, 16)
  latents = jax.random.normal(jax.random.key(1), shape)
  bound = networks.BoundModule(params, module)
  video, line = timed(networks.decode, bound, latents)
  return line | {
    "finite": bool(jnp.isfinite(video).all()),
    "frames": video.shape[1],
  }


PARTS = {"step": step, "layers": layers, "decode": decode}


def run(part: str, size: str) -> dict[str, Any]:
  """One part in this process."""
  variant = variants.get(size)
  with jax.set_mesh(partitioning.one_device()):
    line = PARTS[part](variant)
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
  clip = f"{variant.frames}x{variant.height}x{variant.width}"
  return {
    "part": part,
    "size": size,
    "clip": clip,
    "device": jax.devices()[0].device_kind,
    **line,
    "peak_gib": round(peak / 2**30, 2),
  }


def main() -> int:
  """Runs every part; returns 0 if all of them ended."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--reduced", action="store_true")
  parser.add_argument("--part", choices=PARTS, help="only this one, here")
  options = parser.parse_args()
  if options.part:
    size = "nano" if options.reduced else "1p3b"
    print(json.dumps(run(options.part, size)), flush=True)
    return 0
  small = ["--reduced"] if options.reduced else []
  module = [sys.executable, "-m", "benchmarks.real_size"]
  ended = [
    subprocess.run([*module, *small, "--part", part], check=False).returncode
    for part in PARTS
  ]
  return int(any(ended))


if __name__ == "__main__":
  sys.exit(main())
