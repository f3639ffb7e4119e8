"""Tileable fields: 1/f noise, streaks along a flow, cells, dead leaves."""

import dataclasses

import numpy as np
import scipy.spatial
from jaxtyping import Float, Float32, Int


def fractal(
  rng: np.random.Generator,
  size: int,
  slope: float = 1.0,
  stretch: tuple[float, float] = (1.0, 1.0),
) -> Float32[np.ndarray, "S S"]:
  """Returns noise of mean 0 and deviation 1 whose spectrum falls as 1/f^slope.

  Args:
    rng: source of the noise.
    size: of a side in texels.
    slope: of the amplitude; 1 is that of photographs.
    stretch: how much longer its features are along (rows, columns).
  """
  white = np.fft.rfft2(rng.standard_normal((size, size), dtype=np.float32))
  rows = np.fft.fftfreq(size)[:, None] * size * stretch[0]
  columns = np.fft.rfftfreq(size)[None] * size * stretch[1]
  radius = np.hypot(rows, columns)
  radius[0, 0] = 1.0
  white = white / radius**slope
  white[0, 0] = 0.0
  field = np.fft.irfft2(white, s=(size, size)).astype(np.float32)
  return field / field.std()


def flowing(
  rng: np.random.Generator,
  size: int,
  angle: Float[np.ndarray, "S S"],
  length: int,
) -> Float32[np.ndarray, "S S"]:
  """Returns noise smeared along a flow: strokes, grain, hair.

  Args:
    rng: source of the noise.
    size: of a side in texels.
    angle: of the flow in radians from the columns' axis to the rows'.
    length: of the strokes in texels.
  """
  noise = rng.standard_normal((size, size), dtype=np.float32)
  row, column = np.mgrid[:size, :size].astype(np.float32)
  down, right = np.sin(angle), np.cos(angle)
  total = noise.copy()
  for side in (-1.0, 1.0):
    y, x = row.copy(), column.copy()
    place = _texels(y, x, size)
    for _ in range(length // 2):
      y += side * down.take(place)
      x += side * right.take(place)
      place = _texels(y, x, size)
      total += noise.take(place)
  total -= total.mean()
  return (total / total.std()).astype(np.float32)


def _texels(y, x, size):
  """Returns where places lie in a field's values, row by row."""
  row, column = y.astype(np.int32) % size, x.astype(np.int32) % size
  return row * size + column


def cells(
  rng: np.random.Generator, size: int, count: int
) -> tuple[Int[np.ndarray, "S S"], Float32[np.ndarray, "S S"]]:
  """Returns which of `count` random points is nearest, and the edge's distance.

  The distance to the border between two cells is in texels.
  """
  points = rng.uniform(0, size, (count, 2))
  tree = scipy.spatial.cKDTree(points, boxsize=size)
  grid = np.stack(np.mgrid[:size, :size], axis=-1).reshape(-1, 2)
  distance, number = tree.query(grid, k=2)
  edge = 0.5 * (distance[:, 1] - distance[:, 0])
  return (
    number[:, 0].reshape(size, size),
    edge.reshape(size, size).astype(np.float32),
  )


@dataclasses.dataclass(frozen=True)
class Leaves:
  """A dead-leaves composition: opaque shapes that lie on each other.

  Attributes:
    label: of the shape on top, -1 where there is none.
    along, across: the place within it, -1 to 1 along both axes.
  """

  label: Int[np.ndarray, "S S"]
  along: Float32[np.ndarray, "S S"]
  across: Float32[np.ndarray, "S S"]

  def rounding(self) -> Float32[np.ndarray, "S S"]:
    """Returns the height of a dome over each shape, 0 to 1."""
    square = self.along**2 + self.across**2
    return np.sqrt(np.clip(1 - square, 0, 1))


def dead_leaves(
  rng: np.random.Generator,
  size: int,
  count: int,
  radii: tuple[float, float],
  elongation: float = 1.0,
  pointed: bool = False,
) -> Leaves:
  """Lays shapes of many sizes on each other, as leaves that fell.

  Radii are distributed as 1/r^3, which makes the composition look alike at
  every scale, as photographs do.

  Args:
    rng: source of places, sizes and turns.
    size: of a side in texels.
    count: of shapes.
    radii: smallest and greatest half length in texels, below a half of `size`.
    elongation: length by width.
    pointed: whether they end in points, as leaves do.
  """
  label = np.full((size, size), -1)
  along = np.zeros((size, size), np.float32)
  across = np.zeros((size, size), np.float32)
  low, high = radii[0] ** -2, radii[1] ** -2
  radius = (low + (high - low) * rng.random(count)) ** -0.5
  places = rng.uniform(0, size, (count, 2))
  turns = rng.uniform(0, 2 * np.pi, count)
  for number in range(count):
    reach = int(radius[number]) + 1
    rows = np.arange(int(places[number, 0]) - reach, places[number, 0] + reach)
    columns = np.arange(
      int(places[number, 1]) - reach, places[number, 1] + reach
    )
    dy = (rows - places[number, 0])[:, None] / radius[number]
    dx = (columns - places[number, 1])[None] / radius[number]
    cosine, sine = np.cos(turns[number]), np.sin(turns[number])
    a = cosine * dx + sine * dy
    b = (cosine * dy - sine * dx) * elongation
    width = 1 - a * a
    inside = b * b < (width * width if pointed else width)
    inside &= np.abs(a) < 1
    place = _texels(rows[:, None], columns[None], size)[inside]
    label.put(place, number)
    along.put(place, a[inside])
    across.put(place, b[inside])
  return Leaves(label, along, across)
