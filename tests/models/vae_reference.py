"""The video autoencoder in NumPy, float64, chunk by chunk.

Source: docs/method/video_autoencoder.md#streaming.

The encoder takes 1, 4, 4, ... frames, the decoder one latent frame at a time;
what a convolution saw last is kept in a dictionary between chunks.
"""

import numpy as np


def _silu(x):
  return x / (1.0 + np.exp(-x))


def _norm(p, x):
  length = np.sqrt((x**2).sum(-1, keepdims=True))
  return p["scale"] * np.sqrt(x.shape[-1]) * x / np.maximum(length, 1e-12)


def _conv2d(p, x, stride=1, pad=((1, 1), (1, 1))):
  kernel = p["kernel"]
  x = np.pad(x, ((0, 0), (0, 0), *pad, (0, 0)))
  height = (x.shape[2] - 3) // stride + 1
  width = (x.shape[3] - 3) // stride + 1
  out = p["bias"]
  for i in range(3):
    for j in range(3):
      rows = slice(i, i + stride * (height - 1) + 1, stride)
      columns = slice(j, j + stride * (width - 1) + 1, stride)
      out = out + x[:, :, rows, columns] @ kernel[i, j]
  return out


class Reference:
  """Holds parameters and what the blocks remember."""

  def __init__(self, params, config):
    self.params, self.config, self.kept = params, config, {}

  def _conv(self, p, x, name):
    """Causal 3x3x3 after the last two frames of the chunk before."""
    zeros = np.zeros((x.shape[0], 2, *x.shape[2:]))
    x = np.concatenate([self.kept.get(name, zeros), x], axis=1)
    self.kept[name] = x[:, -2:]
    out = p["bias"]
    for t in range(3):
      part = x[:, t : t + x.shape[1] - 2]
      tap = {"kernel": p["kernel"][t], "bias": 0.0}
      out = out + _conv2d(tap, part)
    return out

  def _block(self, p, x, name):
    h = self._conv(p["conv_1"], _silu(_norm(p["norm_1"], x)), name + "1")
    h = self._conv(p["conv_2"], _silu(_norm(p["norm_2"], h)), name + "2")
    if "shortcut" in p:
      x = x @ p["shortcut"]["kernel"][0, 0, 0] + p["shortcut"]["bias"]
    return x + h

  def _attention(self, p, x):
    batch, frames, height, width, channels = x.shape
    h = _norm(p["norm"], x) @ p["qkv"]["kernel"][0, 0] + p["qkv"]["bias"]
    h = h.reshape(batch, frames, height * width, 3 * channels)
    q, k, v = np.split(h, 3, axis=-1)
    scores = q @ np.swapaxes(k, -1, -2) / np.sqrt(channels)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    h = (weights / weights.sum(-1, keepdims=True)) @ v
    h = h @ p["out"]["kernel"][0, 0] + p["out"]["bias"]
    return x + h.reshape(x.shape)

  def _middle(self, p, x, side):
    x = self._block(p["block_0"], x, side + "middle0")
    x = self._attention(p["attention"], x)
    return self._block(p["block_1"], x, side + "middle1")

  def _down(self, p, x, name):
    x = _conv2d(p["spatial"], x, 2, ((0, 1), (0, 1)))
    if "temporal" not in p:
      return x
    before = self.kept.get(name)
    self.kept[name] = x[:, -1:]
    if before is None:
      return x
    x = np.concatenate([before, x], axis=1)
    kernel = p["temporal"]["kernel"][:, 0, 0]
    count = (x.shape[1] - 3) // 2 + 1
    frames = [
      sum(x[:, 2 * k + t] @ kernel[t] for t in range(3)) for k in range(count)
    ]
    return np.stack(frames, axis=1) + p["temporal"]["bias"]

  def _up(self, p, x, name):
    if "temporal" in p:
      before = self.kept.get(name)
      if before is None:  # The first frame: passed on, and forgotten.
        self.kept[name] = np.zeros((x.shape[0], 2, *x.shape[2:]))
      else:
        full = np.concatenate([before, x], axis=1)
        self.kept[name] = full[:, -2:]
        kernel = p["temporal"]["kernel"][:, 0, 0]
        both = p["temporal"]["bias"]
        for t in range(3):
          both = both + full[:, t : t + x.shape[1]] @ kernel[t]
        frames = []
        for frame in np.moveaxis(both, 1, 0):
          frames += np.split(frame, 2, axis=-1)  # Earlier, later.
        x = np.stack(frames, axis=1)
    x = x.repeat(2, axis=2).repeat(2, axis=3)
    return _conv2d(p["spatial"], x)

  def _chunk(self, p, x, side):
    down = side == "encoder"
    config = self.config
    blocks = config.encoder_blocks if down else config.decoder_blocks
    x = self._conv(p["conv_in"], x, side + "in")
    if not down:
      x = self._middle(p["middle"], x, side)
    for i in range(len(config.multipliers)):
      level, name = p[f"level_{i}"], f"{side}{i}"
      for j in range(blocks):
        x = self._block(level[f"block_{j}"], x, f"{name}.{j}")
      if "downsample" in level:
        x = self._down(level["downsample"], x, name)
      if "upsample" in level:
        x = self._up(level["upsample"], x, name)
    if down:
      x = self._middle(p["middle"], x, side)
    return self._conv(
      p["conv_out"], _silu(_norm(p["norm_out"], x)), side + "out"
    )

  def encode(self, video):
    """Moments [B t h w 2C] of a video."""
    video = video.astype(np.float64)
    self.kept = {}
    starts = [0, *range(1, video.shape[1] - 3, 4)]
    stops = [1, *range(5, video.shape[1] + 1, 4)]
    chunks = [
      self._chunk(self.params["encoder"], video[:, a:b], "encoder")
      for a, b in zip(starts, stops)
    ]
    p = self.params["quant_conv"]
    return np.concatenate(chunks, 1) @ p["kernel"][0, 0, 0] + p["bias"]

  def decode(self, latents):
    """Video, not clamped."""
    p = self.params["post_quant_conv"]
    latents = latents.astype(np.float64) @ p["kernel"][0, 0, 0] + p["bias"]
    self.kept = {}
    chunks = [
      self._chunk(self.params["decoder"], latents[:, t : t + 1], "decoder")
      for t in range(latents.shape[1])
    ]
    return np.concatenate(chunks, axis=1)
