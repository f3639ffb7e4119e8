"""Clips of another number of frames than those of training.

A transformer numbers latent frames by rotations of many frequencies. In a clip
that is longer than those of training, the one frequency that turned about once
over a training clip begins a second turn, and the video repeats itself. RIFLEx
slows that frequency down so that it turns once over the longer clip (Zhao et
al., "RIFLEx: A Free Lunch for Length Extrapolation in Video Diffusion
Transformers", 2025). Nothing is trained for it.
"""

import numpy as np

from more4d_jax import errors
from more4d_jax.models import layers

STEP = 4  # Frames that one latent frame stands for; the first has its own.
MIN_FRAMES, MAX_FRAMES = 5, 1001


def check(frames: int) -> int:
  """A number of frames that the autoencoders can take.

  Raises:
    UserError: unless it is 4 k + 1 in range; it names the nearest ones.
  """
  if MIN_FRAMES <= frames <= MAX_FRAMES and frames % STEP == 1:
    return frames
  below = max(MIN_FRAMES, min(MAX_FRAMES, (frames - 1) // STEP * STEP + 1))
  above = min(MAX_FRAMES, max(MIN_FRAMES, below + STEP))
  inside = MIN_FRAMES < frames < MAX_FRAMES
  nearest = f"{below} or {above}" if inside else f"{below}"
  raise errors.UserError(
    f"expected --frames of 4 k + 1 from {MIN_FRAMES} to {MAX_FRAMES}, found "
    f"{frames}: the nearest is {nearest}"
  )


def riflex(head_dim: int, trained_frames: int) -> int:
  """The number, from 1, of the frequency to slow down.

  It is the one whose turn is nearest to a training clip.

  Args:
    head_dim: size of one head.
    trained_frames: of the clips of training.
  """
  times, _, _ = layers.axis_frequencies(head_dim)
  latent = (trained_frames - 1) // STEP + 1
  return int(np.argmin(np.abs(2 * np.pi / times - latent))) + 1
