"""A photograph as layers in space: their motions and a camera before them."""

import dataclasses
import pathlib

import numpy as np
import PIL.Image
from jaxtyping import Bool, Float

from data_pipelines.photos import folder as photo_folder
from data_pipelines.photos import layers as cutting
from data_pipelines.photos import meshes, motions, shots
from data_pipelines.procedural import randomness
from data_pipelines.procedural.rendering import cameras
from more4d_jax import depth_sources, pictures

_MARGIN = 0.15  # Of the grid, of the photograph that lies around it.
_FARTHEST = 500.0  # Metres; depth beyond counts as unknown.
_FOCAL = 1.1  # Widths of the photograph, where the file does not tell.
_SPREAD = 2.0  # How far the photograph's border is stretched outwards.


@dataclasses.dataclass(frozen=True)
class Scene:
  """All that is needed to film a photograph.

  Attributes:
    layers: background first.
    known: pixels whose depth is known.
    margin: rows and columns of the layers before the grid's first.
    motions: of each layer; None stands still.
    camera: of the clip, in coordinates of the first frame's.
    caption: what happens.
  """

  layers: list[cutting.Layer]
  known: Bool[np.ndarray, "h w"]
  margin: tuple[int, int]
  motions: list[motions.Motion | None]
  camera: cameras.Camera
  caption: str

  def points(self, number: int) -> Float[np.ndarray, "N 3"]:
    """First places of a layer's pixels.

    The background's outermost ones lie farther out, so that there is no end of
    it; the photograph's border is what is seen there.
    """
    depth = self.layers[number].depth
    fx, fy, cx, cy = self.camera.intrinsics
    rows, columns = np.indices(depth.shape) + 0.5
    x = (columns - self.margin[1] - cx) / fx
    y = (rows - self.margin[0] - cy) / fy
    if number == 0:
      for axis in (x, y):
        for edge in ((0,), (-1,), (slice(None), 0), (slice(None), -1)):
          axis[edge] *= _SPREAD
    return (np.stack([x, y, np.ones_like(x)], -1) * depth[..., None]).reshape(
      -1, 3
    )

  def places(self, number: int, frame: int) -> Float[np.ndarray, "N 3"]:
    """Places of a layer's pixels in a frame, first camera's coordinates."""
    points = self.points(number)
    motion = self.motions[number]
    if motion is None or frame == 0:
      return points
    return motion.at(points, frame / (self.camera.num_frames - 1))


def make(
  seed: int,
  path: pathlib.Path,
  depth: depth_sources.DepthMap,
  picture: pictures.Picture,
  size: tuple[int, int, int],
) -> Scene:
  """Cuts a photograph and chooses what happens.

  Args:
    seed: of all that is chosen.
    path: of the photograph, whose text is looked for beside it.
    depth: of all of it.
    picture: the photograph.
    size: frames, height and width of the record.
  """
  frames, height, width = size
  margin = (round(_MARGIN * height), round(_MARGIN * width))
  grid = (height + 2 * margin[0], width + 2 * margin[1])
  box = _box(randomness.generator(seed, "crop"), picture.pixels.shape, grid)
  colours = _resized(picture.pixels, box, (2 * grid[0], 2 * grid[1]))
  metres, known = _depth(depth, picture.pixels.shape, box, grid)
  found = cutting.cut(colours, metres)
  scale = grid[1] / (box[2] - box[0])
  focal = scale * (picture.focal or _FOCAL * picture.pixels.shape[1])
  near = float(np.quantile(metres, 0.05))
  rng = randomness.generator(seed, "shot")
  poses, camera_words = shots.choose(rng, frames, near)
  camera = cameras.Camera(
    np.array([focal, focal, width / 2, height / 2]), height, width, poses
  )
  still = Scene(found, known, margin, [None] * len(found), camera, "")
  moves, words = [None], []
  rng = randomness.generator(seed, "motions")
  for number in range(1, len(found)):
    points = still.points(number)[found[number].shown.ravel()]
    side = _side((points[:, 0] / points[:, 2]).mean() * focal / width)
    motion = motions.choose(rng, points, side)
    moves.append(motion)
    words.append(motion.words)
  caption = _caption(photo_folder.text_of(path), words, camera_words)
  return dataclasses.replace(still, motions=moves, caption=caption)


def _caption(text: str, things: list[str], camera: str) -> str:
  parts = [text] if text else []
  parts += things or ["nothing moves by itself"]
  return "; ".join([*parts, camera])


def _side(x: float) -> str:
  if abs(x) < 0.17:
    return "in the middle"
  return "on the right" if x > 0 else "on the left"


def _box(
  rng: np.random.Generator, shape: tuple[int, ...], grid: tuple[int, int]
) -> tuple[float, float, float, float]:
  """Left, top, right, bottom of the largest part of the grid's aspect."""
  height, width = shape[:2]
  scale = min(height / grid[0], width / grid[1])
  across, down = grid[1] * scale, grid[0] * scale
  left = rng.random() * (width - across)
  top = rng.random() * (height - down)
  return left, top, left + across, top + down


def _resized(pixels, box, size) -> Float[np.ndarray, "h w 3"]:
  image = PIL.Image.fromarray(pixels)
  made = image.resize(size[::-1], PIL.Image.Resampling.LANCZOS, box=box)
  return np.asarray(made, np.float64)


def _depth(depth, shape, box, grid):
  """Metres [h w], filled where unknown, and where they are known."""
  known = depth.valid & (depth.depth <= _FARTHEST)
  far = np.quantile(depth.depth[depth.valid], 0.98)
  inverse = 1 / np.where(known, depth.depth, min(far * 1.5, _FARTHEST))
  rows, columns = known.shape
  box = np.array(box) * np.tile([columns / shape[1], rows / shape[0]], 2)
  scaled = [
    PIL.Image.fromarray(values.astype(np.float32)).resize(
      grid[::-1], PIL.Image.Resampling.BOX, box=tuple(box)
    )
    for values in (inverse, known)
  ]
  made = 1 / np.asarray(scaled[0], np.float64)
  return made, np.asarray(scaled[1]) > 0.5


def surfaces(scene: Scene) -> list[meshes.Mesh]:
  """The meshes of a scene's layers."""
  return [meshes.Mesh(layer.shown) for layer in scene.layers]
