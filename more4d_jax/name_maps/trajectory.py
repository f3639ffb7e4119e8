"""Names of the trajectory encoder and decoder.

Source: docs/method/weights.md#trajectory-networks.

Sizes: W width.
"""

import re
from collections.abc import Iterable

from more4d_jax.models import motion_vae
from more4d_jax.name_maps import table

_LEVELS = {"encoder": "down", "decoder": "up"}


def side_of(names: Iterable[str]) -> str | None:
  """Whether the names are those of an "encoder" or a "decoder", if either."""
  names = list(names)
  for side, level in _LEVELS.items():
    if any(f"{level}.0.block.0." in name for name in names):
      return side
  return None


def blocks_in(names: Iterable[str], side: str) -> int:
  """Residual blocks of one side."""
  pattern = re.compile(rf"(?:.*[/.])?{_LEVELS[side]}\.0\.block\.(\d+)\.")
  found = [int(m.group(1)) for m in map(pattern.match, names) if m]
  return max(found, default=-1) + 1


def table_of(side: str, blocks: int) -> table.Table:
  """The table of encoder or decoder, with `blocks` residual blocks."""
  rows = [
    *table.linear("conv_in", "conv_in", "W 3 3 3"),
    *table.norm("norm_out", "norm_out", "W"),
    *table.linear("conv_out", "conv_out", "3 W 3 3"),
  ]
  for i in range(blocks):
    name, path = f"{_LEVELS[side]}.0.block.{i}", f"block_{i}"
    for n in (1, 2):
      rows += table.norm(f"{name}.norm{n}", f"{path}/norm_{n}", "W")
      rows += table.linear(f"{name}.conv{n}", f"{path}/conv_{n}", "W W 3 3")
  return table.Table(f"trajectory {side}", tuple(rows))


def config(
  encoder: table.Match, encoder_blocks: int, decoder_blocks: int
) -> motion_vae.TrajectoryAdapterConfig:
  """The configuration of both sides, of the width of either."""
  return motion_vae.TrajectoryAdapterConfig(
    width=encoder.sizes["W"],
    encoder_blocks=encoder_blocks,
    decoder_blocks=decoder_blocks,
  )
