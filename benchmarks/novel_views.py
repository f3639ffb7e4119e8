"""Novel views against truth: covered pixels, and fillings of the holes.

Procedural scenes come with the film of another camera; photographs are seen
from a new camera and back, with a made-up depth whose steps follow the
picture. In the holes the background-aware filling and the colour of the
nearest covered pixel are compared by PSNR, by gradient energy relative to the
truth's, and by the difference of the mean colours. A rendering is softer than
the truth also where it has no holes, for it samples pictures anew, twice on
the way there and back: the energy is also given relative to that.

  python -m benchmarks.novel_views --scenes 6 [--out FILE.md]
    [--pictures FILE.png]
"""

import dataclasses
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import PIL.Image
import scipy.ndimage
import skimage.data
import skimage.filters
import tyro

from data_pipelines.procedural import records
from more4d_jax.geometry import cameras
from more4d_jax.rendering import fill, render_video

_PHOTOS = ("coffee", "chelsea", "astronaut", "rocket")
_SHIFTS = ((0.25, 0.0, 0.0), (-0.15, 0.08, 0.0), (0.1, 0.0, 0.5))  # Metres.
_FILLINGS = ("background-aware", "nearest colour")


@dataclasses.dataclass(frozen=True)
class Case:
  """A rendering with holes beside the truth.

  Attributes:
    rendering: colours in [0, 1], [H W 3].
    depth: metres, [H W].
    coverage: [H W].
    truth: colours in [0, 1], [H W 3].
  """

  rendering: np.ndarray
  depth: np.ndarray
  coverage: np.ndarray
  truth: np.ndarray


def psnr(one: np.ndarray, two: np.ndarray, where: np.ndarray) -> float:
  """Over the chosen pixels; colours in [0, 1]."""
  return float(-10 * np.log10(np.mean((one - two)[where] ** 2) + 1e-10))


def gradient_energy(picture: np.ndarray, where: np.ndarray) -> float:
  """Mean squared step to the next pixel, along both axes."""
  across = np.diff(picture, axis=1)[:-1]
  down = np.diff(picture, axis=0)[:, :-1]
  steps = (across**2 + down**2).sum(-1)
  return float(steps[where[:-1, :-1]].mean())


def nearest_colour(case: Case) -> np.ndarray:
  """Every hole takes the colour of the closest covered pixel."""
  _, index = scipy.ndimage.distance_transform_edt(
    ~case.coverage, return_indices=True
  )
  return case.rendering[tuple(index)]


def _render(tracks, colours, pose, intrinsics):
  """Colour, depth and coverage of the last frame."""
  frames = len(tracks)
  found = render_video.render_frames(
    jnp.asarray(tracks),
    jnp.asarray(colours),
    jnp.broadcast_to(jnp.asarray(pose, jnp.float32), (frames, 4, 4)),
    jnp.broadcast_to(jnp.asarray(intrinsics), (frames, 4)),
    jnp.asarray(intrinsics),
    render_video.RenderOptions(*tracks.shape[1:3]),
  )
  return [np.asarray(values[-1]) for values in found]


def photographs(size: tuple[int, int]) -> list[Case]:
  """Photographs warped to a new camera and back."""
  height, width = size
  intrinsics = np.asarray(cameras.default_intrinsics(*size))
  cases = []
  for name in _PHOTOS:
    whole = PIL.Image.fromarray(getattr(skimage.data, name)()).convert("RGB")
    side = min(whole.width / 4, whole.height / 3)
    middle = np.asarray([whole.width, whole.height] * 2) / 2
    box = middle + side * np.asarray([-2, -1.5, 2, 1.5])
    scaled = whole.resize((width, height), PIL.Image.LANCZOS, box=tuple(box))
    picture = np.asarray(scaled, np.float32) / 255
    bright = scipy.ndimage.gaussian_filter(picture.mean(-1), 3)
    near = bright > skimage.filters.threshold_otsu(bright)
    far = 4.5 - 1.5 * np.arange(height)[:, None] / height
    depth = np.where(near, 0.55 * far, far).astype(np.float32)
    for shift in _SHIFTS:
      there = np.eye(4, dtype=np.float32)
      there[:3, 3] = shift
      lift = cameras.unproject(depth[None], intrinsics[None])
      colour, seen, covered = _render(lift, picture, there, intrinsics)
      seen = np.where(covered, seen, np.nan).astype(np.float32)
      lift = cameras.unproject(seen[None], intrinsics[None])
      back = _render(lift, colour, np.linalg.inv(there), intrinsics)
      cases.append(Case(*back, picture))
  return cases


def procedural(
  count: int, size: tuple[int, int], first: int
) -> tuple[list[Case], str]:
  """Last frames of unseen scenes filmed by another camera.

  Returns: them, and a sentence on PSNR over covered pixels, from there and
    from the first camera.
  """
  options = records.RecordOptions(3, *size, views=3, version=2)
  cases, covered, own = [], [], []
  for seed in range(first, first + count):
    record = records.make_record(seed, options)
    picture = record.video[0] / np.float32(255)
    found = _render(record.tracks[:1], picture, np.eye(4), record.intrinsics)
    own.append(psnr(found[0], picture, found[2]))
    for view in record.views:
      found = _render(
        record.tracks[[0, -1]],
        picture,
        view.world_from_camera[-1],
        record.intrinsics,
      )
      truth = view.video[-1] / np.float32(255)
      covered.append(psnr(found[0], truth, found[2]))
      cases.append(Case(*found, truth))
  said = (
    f"Covered pixels from {len(cases)} other cameras: median "
    f"{np.median(covered):.2f} dB; from the first camera "
    f"{np.median(own):.2f} dB."
  )
  return cases, said


def compare(name: str, cases: list[Case]) -> tuple[list[str], list[np.ndarray]]:
  """Rows of the table, one per filling, and pictures side by side.

  Views with holes in less than 1 % of their pixels are left out.
  """
  cases = [case for case in cases if case.coverage.mean() < 0.99]
  fill_frame = jax.jit(fill.fill_frame)
  scores, pictures = [], []
  for case in cases:
    holes = ~case.coverage
    arrays = case.rendering, case.depth, case.coverage
    fillings = np.asarray(fill_frame(*arrays)), nearest_colour(case)
    pictures.append(np.hstack([case.rendering, *fillings, case.truth]))
    truth = gradient_energy(case.truth, holes)
    inner = scipy.ndimage.binary_erosion(case.coverage, iterations=2)
    drawn = gradient_energy(case.rendering, inner)
    drawn /= gradient_energy(case.truth, inner)
    scores.append(
      [
        (
          psnr(filled, case.truth, holes),
          gradient_energy(filled, holes) / truth,
          gradient_energy(filled, holes) / truth / drawn,
          np.abs((filled - case.truth)[holes].mean(0)).mean() * 255,
        )
        for filled in fillings
      ]
    )
  share = np.mean([1 - case.coverage.mean() for case in cases])
  rows = []
  for filling, found in zip(_FILLINGS, np.swapaxes(scores, 0, 1), strict=True):
    quality, energy, relative, colour = np.median(found, axis=0)
    rows.append(
      f"| {len(cases)} {name}, {100 * share:.1f} % holes | {filling} | "
      f"{found[:, 0].mean():.2f} dB | {quality:.2f} dB | {energy:.2f} | "
      f"{relative:.2f} | {colour:.1f} |"
    )
    print(rows[-1], flush=True)
  return rows, pictures


_HEAD = """\
# Novel views and fillings

`python -m benchmarks.novel_views --scenes {scenes} --out FILE.md`, {height} x
{width}, last frames of scenes of version 2 from number {first}, true tracks.
Photographs (coffee, cat, astronaut, rocket) are seen from three new cameras
and back, with made-up depth. {covered}

Medians but for the mean; the energy of gradients is the truth's 1.00, and
then relative to what the rendering has where nothing is filled. Colours are
the difference of means in the holes, of 255.

| holes of | filling | mean | median | gradient energy | relative | colour |
|---|---|---|---|---|---|---|
"""


def main(
  scenes: int = 8,
  height: int = 192,
  width: int = 256,
  first: int = 900_000,
  out: pathlib.Path | None = None,
  pictures: str = "",
) -> None:
  """Prints the comparison.

  Args:
    scenes: number of procedural scenes, of three views each.
    height: of the pictures.
    width: of the pictures.
    first: number of the first scene; training uses small numbers.
    out: Markdown file for the result.
    pictures: PNG file for some rows of rendering, fillings and truth.
  """
  size = height, width
  rows, shown = compare("photographs, there and back", photographs(size))
  cases, covered = procedural(scenes, size, first)
  print(covered)
  more, others = compare("procedural views", cases)
  if out is not None:
    head = _HEAD.format(
      scenes=scenes, height=height, width=width, first=first, covered=covered
    )
    out.write_text(head + "\n".join(rows + more) + "\n")
  if pictures:
    sheet = np.vstack(shown[:6] + others[:12])
    sheet = (sheet.clip(0, 1) * 255).astype(np.uint8)
    PIL.Image.fromarray(sheet).save(pictures)


if __name__ == "__main__":
  tyro.cli(main)
