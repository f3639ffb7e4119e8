"""What is nearer in photographs, by a checkpoint's depth network.

  PYTHONPATH=. python benchmarks/depth_order.py [--checkpoint DIR] [--out PNG]

Photographs have no true depth here, but a person sees at once which of two
places is nearer. `depth_order.json` holds twenty pairs of places of each of
five photographs of scikit-image, marked by hand: column and row of the nearer
one, then of the farther one, as shares of the width and the height. The pairs
of the sixth, a motorcycle, are drawn among those whose measured disparities
differ by a quarter. Prints, as Markdown, the share that the network orders
likewise; `height` is the share by the height in the picture alone, lower being
nearer: photographs are mostly taken from above the ground.
"""

import argparse
import json
import pathlib
import sys
from collections.abc import Mapping, Sequence

import numpy as np
import skimage.data
import skimage.io
import skimage.transform
from jaxtyping import Float, UInt8

from more4d_jax import inputs, pipeline, preparation
from more4d_jax.viewing import panels

PAIRS = pathlib.Path(__file__).with_suffix(".json")
_COUNT = 20
_RATIO = 1.25  # Of the disparities of a pair.
_SHOWN = (160, 240)  # Rows and columns.


def marked() -> Mapping[str, Float[np.ndarray, "20 4"]]:
  """Pairs of each photograph, the motorcycle's included."""
  found = {
    name: np.asarray(pairs)
    for name, pairs in json.loads(PAIRS.read_text()).items()
  }
  return found | {"motorcycle": _measured(skimage.data.stereo_motorcycle()[2])}


def _measured(disparity: Float[np.ndarray, "H W"]) -> Float[np.ndarray, "n 4"]:
  """Pairs drawn by measured disparity, the same ones each time."""
  rng = np.random.default_rng(0)
  height, width = disparity.shape
  pairs = []
  while len(pairs) < _COUNT:
    row, column = rng.integers(height, size=2), rng.integers(width, size=2)
    values = disparity[row, column]
    if not np.isfinite(values).all() or values.min() <= 0:
      continue
    near, far = np.argmax(values), np.argmin(values)
    if values[near] >= _RATIO * values[far]:
      places = np.stack([column / width, row / height], axis=-1)
      pairs.append([*places[near], *places[far]])
  return np.asarray(pairs)


def photograph(name: str) -> UInt8[np.ndarray, "H W 3"]:
  """Colours of one of the six."""
  if name == "motorcycle":
    return skimage.data.stereo_motorcycle()[0]
  found = getattr(skimage.data, name)()
  return found if found.ndim == 3 else np.repeat(found[..., None], 3, axis=-1)


def estimated(
  pipe: pipeline.Pipeline, image: UInt8[np.ndarray, "H W 3"]
) -> Float[np.ndarray, "h w"]:
  """Depth, of the picture at the size that `more4d generate` shows it in."""
  shape = image.shape[:2]
  size = preparation.depth_size(pipe.networks, shape, shape)
  return pipe.depth_map(inputs.resize(image, size)).filled()


def agreement(
  depth: Float[np.ndarray, "H W"], pairs: Float[np.ndarray, "n 4"]
) -> float:
  """Share of the pairs whose first place is nearer."""
  height, width = depth.shape
  column, row = pairs[:, ::2] * width, pairs[:, 1::2] * height
  found = depth[row.astype(int), column.astype(int)]
  return float(np.mean(found[:, 0] < found[:, 1]))


def _beside(
  image: UInt8[np.ndarray, "H W 3"], depth: Float[np.ndarray, "H W"]
) -> UInt8[np.ndarray, "h w 3"]:
  """A photograph and its depth, from blue (far) to red."""
  limits = tuple(np.percentile(depth, [2, 98]).tolist())
  colours = panels.depth_colours(depth[None], limits)[0]
  shown = [
    skimage.transform.resize(one, _SHOWN, preserve_range=True)
    for one in (image, colours)
  ]
  return np.concatenate(shown, axis=1).astype(np.uint8)


def main(arguments: Sequence[str]) -> None:
  """Prints the table; with `--out`, draws the depth maps."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--checkpoint", help="the bundled model unless named")
  parser.add_argument("--out", type=pathlib.Path, help="PNG of all depth maps")
  flags = parser.parse_args(arguments)
  pipe = pipeline.load(flags.checkpoint)
  print("| photograph | network | height |\n|---|---:|---:|")
  shares, drawn = [], []
  for name, pairs in marked().items():
    image = photograph(name)
    depth = estimated(pipe, image)
    height = np.linspace(1, 0, image.shape[0])[:, None] * np.ones(
      image.shape[1]
    )
    shares.append((agreement(depth, pairs), agreement(height, pairs)))
    print(f"| {name} | {shares[-1][0]:.0%} | {shares[-1][1]:.0%} |")
    drawn.append(_beside(image, depth))
  mean = np.mean(shares, axis=0)
  print(f"| all | {mean[0]:.0%} | {mean[1]:.0%} |")
  if flags.out:
    rows = [np.concatenate(drawn[i : i + 2], axis=1) for i in (0, 2, 4)]
    skimage.io.imsave(flags.out, np.concatenate(rows))


if __name__ == "__main__":
  main(sys.argv[1:])
