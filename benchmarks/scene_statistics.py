"""Compares procedural scenes with photographs by their statistics.

Run from the repository: python benchmarks/scene_statistics.py
It prints a table: median, and the range from the 10th to the 90th percentile,
of each statistic for scikit-image's photographs and for first frames of
versions 1, 2 and 3. Everything is measured at 192 x 256.

`--measure-colours` instead counts the colours of the photographs and writes
`photograph_colours.json` of the procedural surfaces.
"""

import argparse
import json
import os
import pathlib

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import PIL.Image
import skimage.color
import skimage.data

from data_pipelines.procedural import scenes, splits
from data_pipelines.procedural.surfaces import colours

COLOURED = ("astronaut", "chelsea", "coffee", "rocket", "stereo_motorcycle")
GREY = ("camera", "brick", "grass", "gravel", "coins")
_HEIGHT, _WIDTH = 192, 256
_TABLE = pathlib.Path(colours.__file__).with_name("photograph_colours.json")


def photograph(name: str) -> np.ndarray:
  """Returns a photograph of scikit-image as sRGB, [H W 3] uint8."""
  photo = getattr(skimage.data, name)()
  photo = photo[0] if isinstance(photo, tuple) else photo
  if photo.ndim == 2:
    photo = np.repeat(photo[..., None], 3, axis=-1)
  return photo[..., :3]


def fitted(photo: np.ndarray) -> np.ndarray:
  """Returns the middle of a photograph at 192 x 256."""
  picture = PIL.Image.fromarray(photo)
  scale = max(_WIDTH / picture.width, _HEIGHT / picture.height)
  size = (round(picture.width * scale), round(picture.height * scale))
  picture = picture.resize(size, PIL.Image.Resampling.LANCZOS)
  left, top = (size[0] - _WIDTH) // 2, (size[1] - _HEIGHT) // 2
  box = (left, top, left + _WIDTH, top + _HEIGHT)
  return np.asarray(picture.crop(box))


def spectral_slope(grey: np.ndarray) -> float:
  """Returns s of the amplitude spectrum 1/f^s between 3 and 60 cycles."""
  side = min(grey.shape)
  square = grey[:side, :side] - grey[:side, :side].mean()
  window = np.hanning(side)
  spectrum = np.abs(np.fft.fft2(square * window[:, None] * window))
  frequency = np.fft.fftfreq(side) * side
  radius = np.hypot(frequency[:, None], frequency).round().astype(int)
  mean = np.bincount(radius.ravel(), spectrum.ravel()) / np.bincount(
    radius.ravel()
  )
  cycles = np.arange(3, 61)
  return float(-np.polyfit(np.log(cycles), np.log(mean[cycles]), 1)[0])


def gradient_kurtosis(grey: np.ndarray) -> float:
  """Returns the kurtosis of horizontal differences of the log intensity."""
  step = np.diff(np.log(grey + 1 / 255), axis=1).ravel()
  step = step - step.mean()
  return float((step**4).mean() / (step**2).mean() ** 2)


def of_picture(picture: np.ndarray) -> dict[str, float]:
  """Returns the statistics of a picture, [192 256 3] uint8."""
  rgb = picture / 255.0
  grey = rgb @ [0.299, 0.587, 0.114]
  found = {
    "spectral slope": spectral_slope(grey),
    "gradient kurtosis": gradient_kurtosis(grey),
    "mean brightness": float(grey.mean()),
    "contrast": float(grey.std()),
  }
  if np.ptp(picture, axis=-1).any():
    saturation = skimage.color.rgb2hsv(rgb)[..., 1]
    for low, high in ((0.0, 0.25), (0.25, 0.5), (0.5, 0.75), (0.75, 1.01)):
      share = ((saturation >= low) & (saturation < high)).mean()
      name = f"saturation {low:.2f} to {min(high, 1):.2f}"
      found[name] = float(share)
  return found


def of_scene(seed: int, version: int) -> dict[str, float]:
  """Returns the statistics of a scene's first frame."""
  options = scenes.SceneOptions(9, _HEIGHT, _WIDTH, "all", version)
  scene = scenes.make_scene(seed, options)
  picture, hits = scene.renderer(scene.camera).frame(0)
  numbers = [*(item.object_number for item in scene.world.items), 0]
  seen = hits.depth[np.isfinite(hits.depth)]
  return of_picture(picture) | {
    "moving share": float((np.array(numbers)[hits.number] > 0).mean()),
    "nearest depth (1 %)": float(np.percentile(seen, 1)),
    "farthest depth (99 %)": float(np.percentile(seen, 99)),
    "open sky": float(1 - seen.size / hits.depth.size),
  }


def table(columns: dict[str, list[dict[str, float]]]) -> str:
  """Returns a Markdown table: statistics by sources."""
  names = list(
    dict.fromkeys(n for rows in columns.values() for r in rows for n in r)
  )
  lines = [
    "| statistic | " + " | ".join(columns) + " |",
    "|---|" + "---|" * len(columns),
  ]
  for name in names:
    cells = []
    for rows in columns.values():
      values = [row[name] for row in rows if name in row]
      if not values:
        cells.append("")
        continue
      low, middle, high = np.percentile(values, (10, 50, 90))
      cells.append(f"{middle:.2f} ({low:.2f} to {high:.2f})")
    lines.append(f"| {name} | " + " | ".join(cells) + " |")
  return "\n".join(lines)


def measure_colours() -> None:
  """Writes the table of colours that the surfaces are drawn from."""
  total = np.zeros((10, 8, 12))
  for name in COLOURED:
    part = photograph(name)[::3, ::3].reshape(-1, 3) / 255.0
    lab = colours.to_lab(colours.linear(part))
    total += colours.table(lab) / len(COLOURED)
  about = (
    "Shares of CIELAB (D65) colours: 10 of lightness (0 to 100), 8 of chroma "
    "(0 to 80), 12 of hue (0 to 360 degrees); every third row and column of "
    "scikit-image's photographs, each photograph of equal weight; made by "
    "python benchmarks/scene_statistics.py --measure-colours"
  )
  stored = {
    "about": about,
    "photographs": list(COLOURED),
    "shares": np.round(total, 5).tolist(),
  }
  _TABLE.write_text(json.dumps(stored) + "\n")
  print(f"wrote {_TABLE}")


def main() -> None:
  """Prints the table, or measures colours."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--scenes", type=int, default=60)
  parser.add_argument("--versions", type=int, nargs="*", default=[1, 2, 3])
  parser.add_argument("--measure-colours", action="store_true")
  arguments = parser.parse_args()
  if arguments.measure_colours:
    measure_colours()
    return
  photos = [of_picture(fitted(photograph(n))) for n in COLOURED + GREY]
  columns = {f"{len(photos)} photographs": photos}
  for version in arguments.versions:
    start = splits.SPLITS[splits.TRAINING[version]].start
    columns[f"version {version}"] = [
      of_scene(start + number, version) for number in range(arguments.scenes)
    ]
  print(table(columns))


if __name__ == "__main__":
  main()
