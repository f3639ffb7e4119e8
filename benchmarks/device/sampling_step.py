"""One sampling step of 4D-STraG: both halves of guidance, bfloat16 weights."""

import jax
import jax.numpy as jnp

from benchmarks.device import measuring, networks
from more4d_jax.kernels import timing
from more4d_jax.models import strag, variants


def main() -> None:
  """Prints a line for each size, then the kernels that take most time."""
  short = measuring.reduced(__doc__)
  for size in ("nano",) if short else ("1p3b", "14b"):
    variant = variants.get(size)
    line = {"size": size, "batch": 2, "weights": "bfloat16"}
    with measuring.attempt(line), jax.set_mesh(measuring.device_mesh()):
      params = networks.parameters(variant, jnp.bfloat16)
      latents, given = networks.conditions(variant, 2)
      module = strag.STraG(variant.strag)

      @jax.jit
      def step(params, latents, given, module=module):
        timestep = jnp.full(latents.shape[:1], 500.0)
        return module.apply({"params": params}, latents, timestep, given)

      run = lambda: step(params, latents, given)  # noqa: B023, E731
      taken = timing.seconds(run, 3)
      flops = 2 * networks.forward_flops(variant.strag.dit, variant.latent_grid)
      finite = bool(jnp.isfinite(run()).all())
      line |= {"seconds": round(taken, 4), **measuring.speed(flops, taken)}
      line |= {"finite": finite, "peak_gib": measuring.peak_gib()}
    if "error" not in line:
      for kernel in measuring.top_kernels(run):
        measuring.say({"size": size, **kernel})
    params = run = None  # The next network needs the memory.


if __name__ == "__main__":
  main()
