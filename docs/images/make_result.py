"""Draws the README's picture: a photograph, its points' paths, another view.

python docs/images/make_result.py --results out --camera orbit_left_90

Takes the folder that `more4d generate` wrote. The first panel is the picture
of the scene, the second the paths of its points, the third the last frame of
the points along the camera path, the fourth that frame as 4D-ViSM completes it.
"""

import argparse
import pathlib
import sys

import numpy as np
import PIL.Image

ROOT = pathlib.Path(__file__).parents[2]
_HEIGHT = 256  # Pixels of every panel.
_GAP = 6


def strip(results: pathlib.Path, camera: str) -> PIL.Image.Image:
  """The four panels in a row.

  Args:
    results: folder with scene.npz and the videos of the camera path.
    camera: name of the path.
  """
  from more4d_jax import scene as scene_lib
  from more4d_jax.viewing import panels, video

  scene = scene_lib.Scene.load(results / "scene.npz")
  factor = max(1, round(_HEIGHT / scene.colours.shape[0]))
  options = panels.TrailOptions(factor=factor)
  paths = panels.trails(
    scene.colours,
    scene.tracks,
    scene.intrinsics,
    options,
    visible=scene.visible,
  )
  frames = [scene.colours, paths[-1]]
  for name in (f"{camera}_points", camera):
    frames.append(video.read_video(results / f"{name}.mp4")[0][-1])
  pictures = [_fit(frame) for frame in frames]
  width = sum(picture.width for picture in pictures)
  width += _GAP * (len(pictures) - 1)
  drawn = PIL.Image.new("RGB", (width, _HEIGHT), "white")
  left = 0
  for picture in pictures:
    drawn.paste(picture, (left, 0))
    left += picture.width + _GAP
  return drawn


def _fit(frame: np.ndarray) -> PIL.Image.Image:
  """A frame at the height of the strip."""
  picture = PIL.Image.fromarray(np.ascontiguousarray(frame))
  width = round(picture.width * _HEIGHT / picture.height)
  return picture.resize((width, _HEIGHT), PIL.Image.Resampling.LANCZOS)


def main(arguments: list[str] | None = None) -> None:
  """Writes the strip as a PNG file."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--results", type=pathlib.Path, required=True)
  parser.add_argument("--camera", default="orbit_left_90")
  parser.add_argument(
    "--out", type=pathlib.Path, default=ROOT / "docs/images/result.png"
  )
  options = parser.parse_args(arguments)
  strip(options.results, options.camera).save(options.out, optimize=True)


if __name__ == "__main__":
  sys.path.insert(0, str(ROOT))
  main()
