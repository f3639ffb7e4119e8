"""A user's photographs as surfaces and as backdrops."""

import dataclasses
import functools
import pathlib

import numpy as np
import PIL.Image

from data_pipelines.photos import folder
from data_pipelines.procedural import randomness
from data_pipelines.procedural.bodies import expanses
from data_pipelines.procedural.surfaces import colours, images, surface
from more4d_jax import errors, pictures

_KEPT = 24  # Photographs of a folder that one process holds.
_TRIED = 20


@functools.lru_cache(maxsize=4 * _KEPT)
def _picture(path: str, mirrored: bool) -> images.Picture:
  """Reads a photograph as a surface; a mirrored one has no seams."""
  photo = PIL.Image.fromarray(pictures.from_file(pathlib.Path(path)).pixels)
  side = images.SIZE // 2 if mirrored else images.SIZE
  short = min(photo.size)
  if mirrored:  # The middle square, at its own proportions.
    left, top = ((n - short) // 2 for n in photo.size)
    photo = photo.crop((left, top, left + short, top + short))
  small = np.asarray(photo.resize((side, side), PIL.Image.Resampling.BOX))
  albedo = colours.linear(small[..., :3] / 255.0)
  if mirrored:
    albedo = np.concatenate([albedo, albedo[:, ::-1]], axis=1)
    albedo = np.concatenate([albedo, albedo[::-1]], axis=0)
  return images.Picture.of(
    albedo.astype(np.float32), np.zeros(albedo.shape[:2], np.float32)
  )


def _readable(directory, number, mirrored):
  """Returns the photograph for a number, or the next one that can be read."""
  last = None
  for turn in range(_TRIED):
    name = folder.name_of(directory, number + turn)
    try:
      return _picture(str(pathlib.Path(directory, name)), mirrored)
    except errors.UserError as error:
      last = f"{name}: {error}"
  raise errors.UserError(
    f"{_TRIED} photographs in a row of {directory} cannot be read; the last "
    f"is {last}"
  )


def surfaces(directory: str | None) -> tuple[images.Picture, ...]:
  """Returns a folder's first photographs as surfaces; none without a folder.

  Raises:
    UserError: no folder, no photographs in it, or none that can be read.
  """
  if directory is None:
    return ()
  count = min(len(folder.listing(directory)), _KEPT)
  return tuple(_readable(directory, n, True) for n in range(count))


def redressed(rng: np.random.Generator, items, directory: str):
  """Lays photographs of a folder over what tiles, in place of its texture."""
  found = surfaces(directory)
  changed = []
  for item in items:
    skins = tuple(
      dataclasses.replace(
        skin,
        picture=randomness.pick(rng, found),
        colour=np.full(3, 0.95),
        tiles=0.6 * skin.tiles,
      )
      if skin.tiles and not skin.glow
      else skin
      for skin in item.materials
    )
    changed.append(dataclasses.replace(item, materials=skins))
  return tuple(changed)


def add(plan, directory: str, open_air: bool) -> None:
  """Adds a photograph behind everything else.

  Args:
    plan: of the stage.
    directory: folder of photographs.
    open_air: whether it stands far away or hangs on the wall.

  Raises:
    UserError: as `surfaces`.
  """
  rng, shot = plan.rng, plan.shot
  picture = _readable(directory, int(rng.integers(1 << 30)), False)
  wide = 0.5 * max(shot.width, shot.height) / shot.intrinsics[0]
  distance = rng.uniform(30, 80) if open_air else _behind(plan)
  half = 1.5 * wide * distance
  pose = shot.stage_from_camera
  ahead = pose[:3, 2] * [1, 0, 1]
  ahead = ahead / np.linalg.norm(ahead)
  place = pose[:3, 3] + distance * ahead
  place[1] -= 0.0 if not open_air else 0.2 * half
  plan.items.append(
    expanses.Card(
      "card",
      np.array([half, 0.75 * half, 0.0]),
      np.repeat(np.eye(3)[None], plan.num_frames, axis=0),
      np.tile(place, (plan.num_frames, 1)),
      (surface.Surface(picture, np.full(3, 1.2), 0.0, glow=0.9, relief=0.0),),
    )
  )


def _behind(plan) -> float:
  """Returns a distance just before the back wall."""
  last = plan.shot.depth
  for item in plan.items:
    if item.shape == "room":
      reach = item.translation[0, 2] + 0.85 * item.size[2]
      last = max(last, reach)
  return float(last)
