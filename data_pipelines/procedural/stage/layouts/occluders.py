"""What stands near the camera and hides a part of the picture."""

import numpy as np

from data_pipelines.procedural import randomness
from data_pipelines.procedural.bodies import expanses
from data_pipelines.procedural.stage import props
from data_pipelines.procedural.surfaces import colours, library, surface


def add(plan: props.Plan, open_air: bool) -> None:
  """Adds leaves or a post near the camera, at a border of the picture."""
  rng, shot = plan.rng, plan.shot
  pose = shot.stage_from_camera
  depth = shot.depth * rng.uniform(0.25, 0.45)
  half = 0.5 * shot.width / shot.intrinsics[0] * depth
  side = randomness.sign(rng) * rng.uniform(0.75, 1.05) * half
  if not open_air or rng.random() < 0.3:
    name = randomness.pick(rng, ("wood", "metal", "plaster"))
    skin = props.skin(
      rng, name, colours.of_photographs(rng, (15, 70)), 0.6 / half
    )
    place = pose[:3, :3] @ [side, 0.0, depth] + pose[:3, 3]
    radius = half * rng.uniform(0.06, 0.14)
    plan.add("capsule", (radius, 30 * radius), place, skin)
    return
  picture = library.any_of(rng, "spray")
  green = colours.natural(rng, "foliage")
  number = plan.number() if plan.wind else 0
  size = half * rng.uniform(0.35, 0.6)
  lift = rng.uniform(-0.6, 0.4) * half
  place = pose[:3, :3] @ [side, lift, depth] + pose[:3, 3]
  stretch = np.tile(np.eye(3), (plan.num_frames, 1, 1))
  stretch[:, 0, 1] = plan.sway(0.1 * plan.wind)
  skin = surface.Surface(picture, green, 0.0, relief=0.3, thin=0.6)
  plan.items.append(
    expanses.Card(
      "card",
      np.array([size, size, 0.0]),
      np.repeat(pose[None, :3, :3], plan.num_frames, axis=0),
      np.tile(place, (plan.num_frames, 1)),
      (skin,),
      number,
      stretch=stretch if number else None,
      holes=picture.holes,
    )
  )
