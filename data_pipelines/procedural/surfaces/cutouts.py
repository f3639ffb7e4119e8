"""Pictures with holes: sprays of leaves, grass, skylines of trees."""

import numpy as np

from data_pipelines.procedural.surfaces import fields, images, minerals

_S = images.SIZE
_shaded, _warmth = minerals.shaded, minerals.warmth


def _leafy(rng, leaves, keep):
  """Returns albedo, relief and holes of leaves where `keep` allows."""
  count = leaves.label.max() + 2
  tones, hues = rng.normal(0, 0.3, count), rng.normal(0, 1, count)
  vein = np.exp(-((leaves.across / 0.1) ** 2))
  tone = tones[leaves.label] + 0.25 * vein
  tone -= 0.3 * np.abs(leaves.across) + 0.2 * leaves.along
  albedo = _shaded(tone, _warmth(hues[leaves.label], 0.14))
  holes = (leaves.label < 0) | ~keep[leaves.label]
  return albedo, 2.0 * leaves.rounding(), holes


def spray(rng):
  """A crown of leaves: dense in the middle, single ones at the border."""
  big = rng.random() < 0.5
  count, radii = (1000, (8.0, 20.0)) if big else (3000, (4.0, 10.0))
  fallen = fields.dead_leaves(rng, _S, count, radii, 2.0, pointed=True)
  row, column = np.mgrid[:_S, :_S] / _S * 2 - 1
  lumps = 0.28 * fields.fractal(rng, _S, 1.6)
  inside = np.hypot(row, column) + lumps < 0.8
  # A leaf is whole or absent, as its middle is inside or not.
  share = np.bincount(
    fallen.label.ravel() + 1, inside.ravel(), minlength=count + 1
  ) / np.maximum(np.bincount(fallen.label.ravel() + 1, minlength=count + 1), 1)
  keep = np.concatenate([share[1:], [0.0]]) > 0.5
  gaps = rng.random(len(keep)) < 0.16
  albedo, height, holes = _leafy(rng, fallen, keep & ~gaps)
  # Deep inside and below is darker.
  depth = np.exp(0.45 * (-row) - 0.25 + 0.2 * lumps)
  edge = np.zeros_like(holes)
  edge[[0, -1]] = edge[:, [0, -1]] = True
  return albedo * depth[..., None].astype(np.float32), height, holes | edge


def tuft(rng):
  """Blades of grass that grow from the lower border."""
  label = np.full((_S, _S), -1)
  along = np.zeros((_S, _S), np.float32)
  count = int(rng.integers(60, 130))
  rows = np.arange(_S)
  for number in range(count):
    tall = _S * min(rng.gamma(9.0, 0.06), 0.97)
    foot = _S * rng.uniform(0.25, 0.75)
    lean = rng.normal(0, 0.28) + 0.5 * (foot / _S - 0.5)
    share = np.clip((_S - rows) / tall, 0, 1.2)
    middle = foot + lean * tall * share**1.7
    half = rng.uniform(1.4, 3.4) * (1 - share) + 0.4
    mine = (np.abs(np.arange(_S)[None] - middle[:, None]) < half[:, None]) & (
      share <= 1
    )[:, None]
    label[mine] = number
    along[mine] = np.broadcast_to(share[:, None], mine.shape)[mine]
  tones, hues = rng.normal(0, 0.25, count + 1), rng.normal(0, 1, count + 1)
  tone = tones[label] + 1.1 * along - 0.5
  albedo = _shaded(tone, _warmth(hues[label] + along, 0.14))
  holes = label < 0
  holes[:2] = True
  holes[:, [0, -1]] = True
  return albedo, along, holes


def treeline(rng):
  """A wood far away, from its foot at the lower border to its tops."""
  crowns = fields.dead_leaves(rng, _S, 700, (4.0, 24.0), 0.8)
  column = np.arange(_S) / _S
  tops = 0.5 + 0.1 * fields.fractal(rng, _S, 1.7)[0]
  tops += 0.08 * np.sin(2 * np.pi * (column + rng.random()))
  row = np.mgrid[:_S, :_S][0] / _S
  fine = fields.fractal(rng, _S, 0.7)
  holes = row + 0.03 * fine + 0.05 * crowns.across < tops[None]
  tones, hues = rng.normal(0, 0.3, 701), rng.normal(0, 1, 701)
  tone = tones[crowns.label] - 0.5 * crowns.across + 0.22 * fine
  tone -= 0.8 * np.clip(row - 0.75, 0, 1)
  return (
    _shaded(tone, _warmth(hues[crowns.label], 0.1)),
    crowns.rounding(),
    holes,
  )


def skyline(rng):
  """Houses far away, with windows and roofs, from the lower border up."""
  albedo = np.ones((_S, _S, 3))
  holes = np.ones((_S, _S), bool)
  grain = fields.fractal(rng, _S, 0.9)
  column = 0
  while column < _S:
    width, tall = int(rng.integers(14, 44)), int(rng.integers(50, 170))
    tone = rng.normal(1.0, 0.25) * np.array([1.0, *rng.normal(0.94, 0.06, 2)])
    place = (slice(_S - tall, _S), slice(column, column + width))
    rows, columns = np.mgrid[: albedo[place].shape[0], : albedo[place].shape[1]]
    pane = (rows % 11 > 3) & (rows % 11 < 9) & (columns % 8 > 2)
    albedo[place] = np.where(
      pane[..., None], 0.35 * tone, tone * (1 - 0.2 * (rows < 5))[..., None]
    )
    holes[place] = False
    if rng.random() < 0.6:  # A roof.
      span = min(width, _S - column)
      for step in range(span // 2):
        top = _S - tall - step
        albedo[top, column + step : column + span - step] = (0.5, 0.36, 0.3)
        holes[top, column + step : column + span - step] = False
    column += width
  albedo = np.clip(albedo, 0.05, 3) * np.exp(0.12 * grain)[..., None]
  albedo = albedo / albedo[~holes].mean()
  return albedo.astype(np.float32), grain, holes
