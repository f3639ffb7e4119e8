"""Pictures of wood, plants, fabric and fur: relative albedo and relief."""

import numpy as np

from data_pipelines.procedural.surfaces import fields, images, minerals

_S = images.SIZE
_shaded, _warmth = minerals.shaded, minerals.warmth


def _grain(rng, stretch):
  """Returns tone and relief of wood whose fibres run along the rows' axis."""
  wide = fields.fractal(rng, _S, 1.5, (stretch, 1.0))
  column = np.arange(_S)[None] / _S
  rings = np.sin(2 * np.pi * (rng.integers(5, 11) * column + 0.55 * wide))
  fibre = fields.flowing(rng, _S, np.full((_S, _S), np.pi / 2), 60)
  pores = np.clip(fibre - 1.3, 0, 1)
  tone = 0.16 * rings + 0.09 * fibre + 0.12 * wide - 0.25 * pores
  return tone, 0.5 * fibre - pores


def wood(rng):
  """Sawn wood with year rings."""
  tone, height = _grain(rng, 5.0)
  return _shaded(tone, _warmth(-tone, 0.12)), height


def planks(rng):
  """Boards beside each other, each of its own tone."""
  tone, height = _grain(rng, 6.0)
  column = np.arange(_S) * 6 / _S
  board = np.floor(column).astype(int)
  shift = rng.integers(0, _S, 6)
  rolled = np.empty_like(tone)
  for number in range(6):
    mine = board == number
    rolled[:, mine] = np.roll(tone, shift[number], axis=0)[:, mine]
  gap = np.clip(1 - (0.5 - np.abs(column % 1 - 0.5)) * _S / 6 / 1.3, 0, 1)
  tone = rolled + rng.normal(0, 0.16, 6)[board] - 1.3 * gap
  return _shaded(tone, _warmth(-rolled, 0.1)), height - 3 * gap[None]


def bark(rng):
  """Ridges along the trunk."""
  wide = fields.fractal(rng, _S, 1.1, (3.5, 1.0))
  fine = fields.fractal(rng, _S, 0.7, (2.0, 1.0))
  ridge = 1 - np.abs(wide)
  tone = 0.42 * ridge + 0.2 * fine
  return _shaded(tone, _warmth(fine, 0.05)), 5 * ridge + fine


def grass(rng):
  """Blades seen from above, patches of other greens, dry stalks."""
  blades = fields.dead_leaves(rng, _S, 3000, (3.0, 17.0), 7.0, pointed=True)
  tones, hues = rng.normal(0, 0.36, 3001), rng.normal(0, 1, 3001)
  wide = fields.fractal(rng, _S, 1.3)
  tone = tones[blades.label] + 0.3 * wide
  tone += 0.35 * blades.along - 0.25 * np.abs(blades.across)
  return (
    _shaded(tone, _warmth(hues[blades.label] + 0.7 * wide, 0.13)),
    2.0 * blades.rounding() + wide,
  )


def leaves(rng):
  """Leaves that lie on each other, of many sizes."""
  fallen = fields.dead_leaves(rng, _S, 900, (5.0, 26.0), 2.0, pointed=True)
  tones, hues = rng.normal(0, 0.42, 901), rng.normal(0, 1, 901)
  vein = np.exp(-((fallen.across / 0.08) ** 2))
  fine = fields.fractal(rng, _S, 0.9)
  tone = tones[fallen.label] + 0.3 * vein + 0.12 * fine
  tone -= 0.5 * (np.abs(fallen.along) + np.abs(fallen.across)) ** 2
  return (
    _shaded(tone, _warmth(hues[fallen.label], 0.16)),
    3.5 * fallen.rounding() + 0.4 * fine,
  )


def fabric(rng):
  """Woven cloth with soft folds."""
  count = int(rng.integers(30, 56))
  y, x = 2 * np.pi * np.mgrid[:_S, :_S] * count / _S
  over = (np.sin(y / 2) * np.sin(x / 2)) > 0
  thread = np.where(over, np.abs(np.sin(x)), np.abs(np.sin(y)))
  folds = fields.fractal(rng, _S, 2.0, (1.0, 1.0 + rng.random()))
  uneven = fields.fractal(rng, _S, 0.8)
  tone = 0.17 * thread + 0.08 * uneven + 0.06 * folds
  return _shaded(tone), 0.7 * thread + 5.0 * folds


def knit(rng):
  """Knitted wool: columns of slanting stitches."""
  y, x = np.mgrid[:_S, :_S] * 24 / _S
  side = np.abs(x % 1 - 0.5)
  stitch = np.sin(2 * np.pi * (y + 1.2 * side)) * np.cos(np.pi * side)
  fuzz = fields.fractal(rng, _S, 0.5)
  folds = fields.fractal(rng, _S, 1.9)
  tone = 0.24 * stitch + 0.14 * fuzz + 0.06 * folds
  return _shaded(tone), 1.4 * stitch + 4.0 * folds


def fur(rng):
  """Hair that lies along a flow, in lighter and darker strands."""
  flow = np.pi / 2 + 0.5 * fields.fractal(rng, _S, 1.8)
  fine = fields.flowing(rng, _S, flow, 22)
  strands = fields.flowing(rng, _S, flow, 44)
  wide = fields.fractal(rng, _S, 1.5)
  tone = 0.26 * fine + 0.18 * strands + 0.22 * wide
  return _shaded(tone, _warmth(wide, 0.06)), 0.9 * fine + 0.8 * strands


def carpet(rng):
  """Tufts."""
  tufts = fields.fractal(rng, _S, 0.25)
  wide = fields.fractal(rng, _S, 1.4)
  return _shaded(0.2 * tufts + 0.1 * wide), 0.8 * tufts


def skin(rng):
  """Skin: soft, reddish spots."""
  wide, fine = fields.fractal(rng, _S, 1.5), fields.fractal(rng, _S, 0.7)
  tint = 0.04 * wide[..., None] * np.array([0.2, -1.0, -0.8])
  return _shaded(0.05 * wide + 0.04 * fine, tint), 0.25 * fine
