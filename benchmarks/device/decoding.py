"""The video autoencoder on a clip of 49 x 368 x 512, chunk by chunk."""

import jax
import jax.numpy as jnp

from benchmarks.device import measuring
from more4d_jax import partitioning
from more4d_jax.kernels import timing
from more4d_jax.models import variants, video_vae
from more4d_jax.sampling import networks


def main() -> None:
  """Prints a line for encoding and for decoding."""
  short = measuring.reduced(__doc__)
  variant = variants.get("nano" if short else "1p3b")
  module = video_vae.VideoVAE(variant.video_vae)
  clip = (1, variant.frames, variant.height, variant.width, 3)
  few = (1, 5, 32, 32, 3)
  with jax.set_mesh(measuring.device_mesh()):
    params = jax.jit(
      lambda key: partitioning.unbox(module.init(key, jnp.zeros(few))["params"])
    )(jax.random.key(0))
    bound = networks.BoundModule(params, module)
    video = jax.random.uniform(jax.random.key(1), clip, minval=-1.0)
    latents = jax.random.normal(
      jax.random.key(2), (1, *variant.latent_grid, 16)
    )
    passes = {
      "encode": (jax.jit(networks.posterior), video),
      "decode": (jax.jit(networks.decode), latents),
    }
    for name, (function, value) in passes.items():
      line = {"pass": name, "clip": "x".join(map(str, clip[1:4]))}
      with measuring.attempt(line):
        run = lambda f=function, x=value: f(bound, x)  # noqa: E731
        taken = timing.seconds(run, 3)
        line["seconds"] = round(taken, 3)
        line["frames_a_second"] = round(clip[1] / taken, 2)
        line["peak_gib"] = measuring.peak_gib()


if __name__ == "__main__":
  main()
