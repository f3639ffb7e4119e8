"""Rotary tables and their application; the timestep sinusoid."""

import pathlib

import numpy as np

from more4d_jax.kernels.norm_rotary import reference
from more4d_jax.models import layers, rotary_order
from tests.parity.adapters import wan_weights


def _angles(frequencies: np.ndarray, rows: int) -> np.ndarray:
  return np.arange(rows)[:, None] * frequencies


def _apply(x: np.ndarray, grids: np.ndarray) -> np.ndarray:
  """Rotates each sample by its grid; tokens beyond it stay as they are."""
  out = []
  for sample, grid in zip(x, grids):
    width = x.shape[-1]
    angles = layers.rotary_angles(tuple(map(int, grid)), width)
    fill = ((0, len(sample) - len(angles)), (0, 0))
    cos, sin = np.split(angles, 2, axis=-1)
    cos, sin = np.pad(cos, fill, constant_values=1), np.pad(sin, fill)
    rotated = reference.rotate(
      rotary_order.half_split(sample[None], width),
      np.concatenate([cos, sin], axis=-1),
    )
    out.append(rotary_order.neighbours(rotated, width)[0])
  return np.stack(out)


def run(folder: pathlib.Path) -> dict[str, np.ndarray]:
  """Every required key of the folder."""
  info, io, _ = wan_weights.read(folder)
  names = ("k", "L_test", "L_test_scale")
  riflex = tuple(info["riflex"][name] for name in names if "riflex" in info)
  out = {}
  for key, stored in io.items():
    kind, _, rest = key.removeprefix("out.").rpartition("_")
    if not key.startswith("out."):
      continue
    if kind in ("freqs", "riflex"):
      dim, function = rest.split(".")
      parts = layers.axis_frequencies(
        int(dim), riflex if kind == "riflex" else None
      )
      frequencies = parts[0] if kind == "riflex" else np.concatenate(parts)
      angles = _angles(frequencies, len(stored))
      out[key] = np.cos(angles) if function == "cos" else np.sin(angles)
    elif kind == "rope_apply":
      out[key] = _apply(io[f"in.q_{rest}"], io[f"in.grid_{rest}"])
    elif kind == "sinusoid":
      out[key] = layers.timestep_embedding(io["in.t"], int(rest))
  return {key: np.asarray(value) for key, value in out.items()}
