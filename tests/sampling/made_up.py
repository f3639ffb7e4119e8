"""Made-up networks whose answers are known, and who lends them."""

import contextlib

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from more4d_jax.models import latent_stats
from more4d_jax.sampling import networks

STATS = latent_stats.LatentStats(
  mean=np.linspace(-1, 1, 16, dtype=np.float32),
  std=np.linspace(0.5, 2, 16, dtype=np.float32),
)


class VAE(nn.Module):
  """Means of 8x8 pixels of every fourth frame; decodes by repetition."""

  def encode(self, video):
    small = video[:, ::4, 4::8, 4::8]
    mean = jnp.repeat(small.mean(-1, keepdims=True), 16, axis=-1)
    return mean, jnp.zeros_like(mean)

  def decode(self, latents):
    frames = jnp.repeat(latents[..., :3], 4, axis=1)[:, 3:]
    return jnp.repeat(jnp.repeat(frames, 8, axis=2), 8, axis=3)


def bound(module, stats=None):
  return networks.BoundModule({}, module, stats)


class Lender:
  """Lends networks that are there, and notes what was borrowed."""

  def __init__(self, **nets):
    self.nets = nets
    self.borrowed = []

  @contextlib.contextmanager
  def __call__(self, kind, parts):
    self.borrowed.append((kind, *parts))
    yield self.nets[kind]


def text(first, second, batch):
  """Contexts that begin with these numbers, as `_STraG` reads them."""
  rows = np.asarray([[first, 0], [second, 0]], np.float32)
  return rows[:batch, :, None]
