"""Pictures of ground, stone and walls: relative albedo and relief."""

import numpy as np

from data_pipelines.procedural.surfaces import fields, images

_S = images.SIZE


def shaded(tone, tint=None):
  """Returns albedo [S S 3] of mean 1: e^tone with a tint per channel."""
  albedo = np.exp(np.clip(tone, -2.5, 1.6))[..., None] * np.ones(3)
  if tint is not None:
    albedo = albedo * np.exp(tint)
  return (albedo / albedo.mean(axis=(0, 1))).astype(np.float32)


def warmth(field, strength):
  """Returns a tint from cool to warm."""
  return strength * field[..., None] * np.array([1.0, 0.15, -1.1])


def plaster(rng):
  """Smooth walls with stains."""
  stains = fields.fractal(rng, _S, 1.5)
  grain = fields.fractal(rng, _S, 0.6)
  tone = 0.07 * stains + 0.05 * grain
  return shaded(tone, warmth(stains, 0.02)), 0.25 * grain + 0.6 * stains


def concrete(rng):
  """Grey, stained, with pores."""
  stains = fields.fractal(rng, _S, 1.3)
  grain = fields.fractal(rng, _S, 0.4)
  pores = grain < -2.1
  tone = 0.17 * stains + 0.08 * grain - 0.5 * pores
  return shaded(tone, warmth(stains, 0.03)), 0.5 * grain - 1.5 * pores


def asphalt(rng):
  """Fine bright and dark stones, with patches."""
  stones = fields.dead_leaves(rng, _S, 2600, (1.0, 4.0))
  tones = rng.normal(0, 0.38, 2601)
  wide = fields.fractal(rng, _S, 1.6)
  tone = tones[stones.label] + 0.2 * wide
  return shaded(tone), 1.2 * stones.rounding()


def gravel(rng):
  """Pebbles."""
  stones = fields.dead_leaves(rng, _S, 1100, (2.5, 17.0), 1.25)
  tones, hues = rng.normal(0, 0.4, 1101), rng.normal(0, 1, 1101)
  grain = fields.fractal(rng, _S, 0.8)
  dome = stones.rounding()
  tone = tones[stones.label] + 0.16 * grain + 0.75 * dome
  return shaded(tone, warmth(hues[stones.label], 0.08)), 6 * dome + 0.3 * grain


def earth(rng):
  """Bare soil: lumps, grit, dry grass."""
  wide, grain = fields.fractal(rng, _S, 1.25), fields.fractal(rng, _S, 0.5)
  stones = fields.dead_leaves(rng, _S, 240, (1.2, 6.0), 1.3)
  there = stones.label >= 0
  tone = 0.33 * wide + 0.16 * grain
  tone += there * (rng.normal(0.1, 0.35, 241)[stones.label])
  height = 1.6 * wide + 0.4 * grain + 2.5 * there * stones.rounding()
  return shaded(tone, warmth(wide, 0.06)), height


def sand(rng):
  """Ripples and grains."""
  wide, grain = fields.fractal(rng, _S, 1.5), fields.fractal(rng, _S, 0.25)
  row = np.arange(_S)[:, None] / _S
  ripple = np.sin(2 * np.pi * 9 * row + 1.6 * wide)
  tone = 0.08 * grain + 0.1 * wide + 0.07 * ripple
  return shaded(tone, warmth(wide, 0.02)), 1.5 * ripple + 0.25 * grain + wide


def rock(rng):
  """Cracked stone with lichen."""
  wide, fine = fields.fractal(rng, _S, 1.4), fields.fractal(rng, _S, 0.9)
  _, edge = fields.cells(rng, _S, 14)
  crack = np.exp(-np.abs(edge + 2.0 * fine) / 1.6)
  spots = np.clip(2 * (fields.fractal(rng, _S, 1.1) - 1.1), 0, 1)
  tone = 0.3 * wide + 0.2 * fine - 0.9 * crack + 0.35 * spots
  return shaded(tone, warmth(fine, 0.05)), 5 * wide + 2 * fine - 5 * crack


def _blocks(rng, rows, columns, gap):
  """Returns number and border (0 in the joint) of blocks laid in courses."""
  wobble = 1.2 * fields.fractal(rng, _S, 1.4)
  y, x = np.mgrid[:_S, :_S].astype(np.float32)
  y, x = y + wobble, x + np.roll(wobble, 77, axis=0)
  row = np.floor(y * rows / _S).astype(int)
  across = x * columns / _S + 0.5 * (row % 2)
  column = np.floor(across).astype(int)
  dy = _S / rows * (0.5 - np.abs(y * rows / _S - row - 0.5))
  dx = _S / columns * (0.5 - np.abs(across - column - 0.5))
  number = (row % rows) * columns + column % columns
  return number, np.clip((np.minimum(dx, dy) - gap) / 1.5, 0, 1)


def bricks(rng):
  """Bricks in mortar; every one has its own colour."""
  number, inside = _blocks(rng, 16, 6, 1.6)
  tones, hues = rng.normal(0, 0.24, 96), rng.normal(0, 1, 96)
  wide, fine = fields.fractal(rng, _S, 1.4), fields.fractal(rng, _S, 0.8)
  tone = tones[number] + 0.14 * fine + 0.12 * wide
  mortar = 0.5 + 0.12 * fine
  tone = inside * tone + (1 - inside) * mortar
  tint = warmth(hues[number] * inside, 0.1)
  # Mortar is grey where the brick's own colour is red.
  tint = tint + (1 - inside)[..., None] * np.array([-0.45, 0.2, 0.55])
  return shaded(tone, tint), 3 * inside + 0.6 * fine


def paving(rng):
  """Slabs with joints."""
  number, inside = _blocks(rng, 6, 5, 0.8)
  wide, fine = fields.fractal(rng, _S, 1.3), fields.fractal(rng, _S, 0.5)
  tone = rng.normal(0, 0.13, 30)[number] + 0.12 * wide + 0.1 * fine
  tone -= 0.8 * (1 - inside)
  hue = rng.normal(0, 1, 30)[number]
  return shaded(tone, warmth(hue, 0.03)), 2 * inside + 0.4 * fine


def cobbles(rng):
  """Rounded stones, close to each other."""
  number, edge = fields.cells(rng, _S, 150)
  dome = np.clip(edge / 7, 0, 1) ** 0.5
  fine = fields.fractal(rng, _S, 0.8)
  tone = rng.normal(0, 0.24, 150)[number] + 0.13 * fine + 1.1 * dome
  hue = rng.normal(0, 1, 150)[number]
  return shaded(tone, warmth(hue, 0.06)), 6 * dome + 0.6 * fine


def tiles(rng):
  """Glazed tiles with light joints."""
  y, x = np.mgrid[:_S, :_S] * 8 / _S
  edge = np.minimum(0.5 - np.abs(y % 1 - 0.5), 0.5 - np.abs(x % 1 - 0.5))
  inside = np.clip((edge - 0.025) * 30, 0, 1)
  number = (y.astype(int) * 8 + x.astype(int)) % 64
  fine = fields.fractal(rng, _S, 1.0)
  tone = rng.normal(0, 0.06, 64)[number] + 0.03 * fine - 0.45 * (1 - inside)
  if rng.random() < 0.4:
    tone = tone - 0.9 * ((number % 8 + number // 8) % 2)
  return shaded(tone), 2.5 * inside


def metal(rng):
  """Paint or metal: smooth, a little dirty and scratched."""
  dirt = fields.fractal(rng, _S, 1.4)
  angle = np.full((_S, _S), rng.uniform(-0.3, 0.3))
  scratch = np.clip(fields.flowing(rng, _S, angle, 40) - 2.2, 0, 1)
  tone = 0.05 * dirt + 0.25 * scratch - 0.3 * np.clip(dirt - 1.4, 0, 1)
  return shaded(tone, warmth(np.clip(dirt - 1, 0, 1), 0.08)), 0.4 * dirt
