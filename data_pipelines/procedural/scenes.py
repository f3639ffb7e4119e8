"""Makes scenes: their objects, their motion, their camera and caption."""

from data_pipelines.procedural import catalogue, film_scenes, randomness
from data_pipelines.procedural.rendering import cameras, shading
from data_pipelines.procedural.scene import Scene, SceneOptions
from data_pipelines.procedural.stage import (
  appearance,
  clutter,
  shots,
  surroundings,
)
from data_pipelines.procedural.subjects import drafts

KINDS = catalogue.FIRST.kinds
MIXTURE = catalogue.FIRST.mixture
CLIP_SECONDS = 1.0
# Letters; a caption leaves its surroundings out rather than be longer.
LONGEST_CAPTION = 96


def _check(options):
  if options.version not in catalogue.VERSIONS:
    raise ValueError(
      f"expected a version of the scenes among "
      f"{', '.join(map(str, catalogue.VERSIONS))}; found {options.version!r}"
    )
  kinds = catalogue.VERSIONS[options.version].kinds
  if options.kind != "all" and options.kind not in kinds:
    raise ValueError(
      f"expected a kind of scene among all, {', '.join(kinds)}; "
      f"found {options.kind!r}"
    )
  if min(options.frames, options.height, options.width) < 1:
    raise ValueError(
      "expected at least one frame, row and column, found "
      f"{options.frames} frames of {options.height}x{options.width}"
    )


def _surroundings(rng, version, shot, frames):
  reach = shot.subject[2]
  if version.rich:
    return surroundings.make(rng, reach, frames)
  room = appearance.make_room(rng, reach, frames)
  sun = appearance.make_sun(rng)
  return surroundings.Surroundings(room, sun, shading.DAYLIGHT, "")


def make_scene(
  seed: int, options: SceneOptions, motion_seed: int | None = None
) -> Scene:
  """Simulates a scene; the same arguments give the same scene.

  Args:
    seed: number of the scene, 0 or larger.
    options: size and kind.
    motion_seed: another seed for what neither the first picture nor the
      caption tells (pace within a word's band, heading, side of a swing). The
      first picture, the caption and the camera stay the same. This is the
      oracle: the best guess that picture and caption allow.

  Raises:
    ValueError: unknown kind, negative seed or an empty size.
  """
  _check(options)
  version = catalogue.VERSIONS[options.version]
  if version.filmed:
    return film_scenes.make(seed, options, motion_seed)
  name, mixture = options.kind, version.mixture
  if name == "all":
    chooser = randomness.generator(seed, "kind")
    name = randomness.pick(chooser, tuple(mixture), tuple(mixture.values()))
  kind = version.kinds[name]
  frames = options.frames
  rng = randomness.generator(seed, "stage")
  size = (options.height, options.width)
  shot = shots.make_shot(rng, size, kind.area, kind.rise)
  around = _surroundings(rng, version, shot, frames)
  hidden_seed = seed if motion_seed is None else motion_seed
  draft = kind.build(drafts.Draws.of(seed, hidden_seed), shot, frames)
  still = clutter.scatter(
    randomness.generator(seed, "clutter"),
    shot,
    draft.half_zone,
    frames,
    kind.largest_clutter,
  )
  rng = randomness.generator(seed, "camera")
  if rng.random() < kind.moving_camera:
    poses = shots.moving_poses(rng, shot, frames)
  else:
    poses = shots.still_poses(shot, frames)
  camera = cameras.Camera(shot.intrinsics, options.height, options.width, poses)
  items = (around.room, *draft.items, *still.items)
  world = shading.World(items, around.sun, around.light)
  fps = max(frames - 1, 1) / CLIP_SECONDS
  caption = draft.sentence
  for phrase in (still.phrase, around.phrase):
    if len(caption) + len(phrase) <= LONGEST_CAPTION:
      caption += phrase
  return Scene(seed, name, caption, world, camera, shot, fps)
