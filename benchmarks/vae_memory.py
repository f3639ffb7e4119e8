"""Memory of the video autoencoder against the length of the clip.

Run from the repository: python benchmarks/vae_memory.py [--width 96]
It compiles and runs nothing: the table shows what the compiler reserves for
temporaries, in MiB, for the whole clip at once and chunk by chunk.
"""

import argparse
import functools
import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import jax.numpy as jnp

from more4d_jax import partitioning
from more4d_jax.models import vae_streaming, video_vae

FRAMES = (17, 49, 97)


def temporaries(
  vae: video_vae.VideoVAE, method: str, size: tuple[int, int, int], *, whole
) -> float:
  """MiB of temporaries of encoding or decoding one clip.

  Args:
    vae: the autoencoder.
    method: "encode" or "decode".
    size: frames, rows and columns.
    whole: at once instead of chunk by chunk.
  """
  if method == "encode":
    x = jax.ShapeDtypeStruct((1, *size, 3), jnp.float32)
  else:
    shape = (1, *vae.config.latent_shape(*size))
    x = jax.ShapeDtypeStruct(shape, jnp.float32)
  start = jnp.zeros((1, 5, 16, 16, 3))
  shapes = jax.eval_shape(vae.init, jax.random.key(0), start)["params"]
  function = functools.partial(getattr(vae_streaming, method), vae)
  if whole:
    apply = functools.partial(vae.apply, method=method)
    function = lambda params, x: apply({"params": params}, x)  # noqa: E731
  compiled = jax.jit(function).lower(partitioning.unbox(shapes), x).compile()
  return compiled.memory_analysis().temp_size_in_bytes / 2**20


def main() -> None:
  """Prints the table."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--width", type=int, default=96)
  parser.add_argument("--height", type=int, default=368)
  parser.add_argument("--columns", type=int, default=512)
  options = parser.parse_args()
  vae = video_vae.VideoVAE(video_vae.VideoVAEConfig(width=options.width))
  size = (options.height, options.columns)
  print(
    f"jax {jax.__version__}, {jax.default_backend()}, float32, base width "
    f"{options.width}, {size[0]} x {size[1]} pixels; MiB of temporaries"
  )
  print(f"{'frames':<22}" + "".join(f"{n:>10}" for n in FRAMES))
  for method in ("encode", "decode"):
    for whole in (False, True):
      row = [temporaries(vae, method, (n, *size), whole=whole) for n in FRAMES]
      name = f"{method}, {'whole' if whole else 'chunk by chunk'}"
      print(f"{name:<22}" + "".join(f"{n:>10.0f}" for n in row), flush=True)


if __name__ == "__main__":
  main()
