"""Modules of other libraries with random weights, and how far ours are off.

Only imported where torch is.
"""

import math
import pathlib

import numpy as np
import torch
from safetensors import numpy as safetensors_numpy

# Of float32 through a few layers; both sides round differently. The bound is
# the one that the models must hold to; what is seen is about 1e-6.
BOUND = 1e-4


def redraw(module: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
  """Draws all parameters, also those that start as zeros or ones."""
  torch.set_num_threads(1)
  generator = torch.Generator().manual_seed(seed)
  with torch.no_grad():
    for name, value in module.named_parameters():
      noise = torch.randn(value.shape, generator=generator)
      if value.squeeze().ndim > 1:
        noise /= math.sqrt(math.prod(value.shape[1:]))
      elif name.endswith(("weight", "gamma", "lambda1")):
        noise = 1 + 0.3 * noise  # Scales of norms and of branches.
      else:
        noise *= 0.3
      value.copy_(noise)
  return module.eval()


def weights(module: torch.nn.Module) -> dict[str, np.ndarray]:
  """Tensors by the names that the module knows."""
  return {name: value.numpy() for name, value in module.state_dict().items()}


def saved(module: torch.nn.Module, folder: pathlib.Path) -> dict:
  """Tensors by the names of the file that the module is published as."""
  module.save_pretrained(folder)
  return safetensors_numpy.load_file(folder / "model.safetensors")


def error(ours: np.ndarray, theirs: torch.Tensor | np.ndarray) -> float:
  """Largest difference, relative to the largest value."""
  theirs = np.asarray(theirs)
  assert ours.shape == theirs.shape
  assert np.abs(theirs).max() > 0
  return float(np.abs(np.asarray(ours) - theirs).max() / np.abs(theirs).max())
