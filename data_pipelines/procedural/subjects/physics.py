"""Things that tumble: rigid bodies under gravity, simulated by MuJoCo.

MuJoCo computes the poses only; shapes, pictures, tracks and visibility are
those of every other kind. It is the extra `[sim]` and in no mixture.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from data_pipelines.procedural import randomness
from data_pipelines.procedural.bodies import primitives, textures
from data_pipelines.procedural.stage import appearance, shots
from data_pipelines.procedural.subjects import drafts, wording
from more4d_jax import errors

_STEP = 0.001  # Seconds; a clip lasts one.
_STEPS = 1000
# Stiff contacts: bodies sink by millimetres, not by centimetres.
_SURFACE = 'friction="0.7 0.01 0.001" solref="0.004 1"'
# MuJoCo's z is up and its y points away: stage_from_mujoco.
_TURN = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])


@dataclasses.dataclass(frozen=True)
class Body:
  """A rigid body at its start, at rest.

  Attributes:
    shape: "ellipsoid" (a ball), "box", or "capsule" and "cylinder", whose
      axis is y as in `shapes`.
    size: as in `shapes`, metres.
    place: of its centre on the stage, [3] in metres.
    rotation: stage_from_local, [3 3].
    velocity: on the stage, [3] in metres per second.
  """

  shape: str
  size: Float[np.ndarray, "3"]
  place: Float[np.ndarray, "3"]
  rotation: Float[np.ndarray, "3 3"]
  velocity: Float[np.ndarray, "3"]


def _geom(body: Body) -> str:
  """Returns the body's element of MuJoCo's XML, with its axis along z."""
  x, y, z = body.size
  kind, size = {
    "ellipsoid": ("sphere", (x,)),
    "box": ("box", (x, y, z)),
    "capsule": ("capsule", (x, y)),
    "cylinder": ("cylinder", (x, y)),
  }[body.shape]
  # The axis of MuJoCo's capsules and cylinders is z, ours is y.
  turn = "1.5707963267948966 0 0" if len(size) == 2 else "0 0 0"
  numbers = " ".join(map(repr, map(float, size)))
  return (
    f'<body><freejoint/><geom type="{kind}" size="{numbers}" euler="{turn}" '
    f'density="600" {_SURFACE}/></body>'
  )


def simulate(
  bodies: Sequence[Body], num_frames: int
) -> list[tuple[Float[np.ndarray, "T 3 3"], Float[np.ndarray, "T 3"]]]:
  """Returns rotations and places on the stage of bodies above the ground.

  Args:
    bodies: at the start of the clip.
    num_frames: poses, evenly spread over one second.

  Raises:
    UserError: MuJoCo is not installed.
  """
  try:
    import mujoco
  except ImportError as error:
    raise errors.UserError(
      "tumbling scenes need MuJoCo, which is not installed; pip install "
      "'more4d_jax[sim]', or choose other scenes"
    ) from error
  model = mujoco.MjModel.from_xml_string(
    f'<mujoco><compiler angle="radian"/><option timestep="{_STEP}" '
    f'gravity="0 0 -9.81"/><worldbody><geom type="plane" size="50 50 1" '
    f"{_SURFACE}/>"
    f"{''.join(map(_geom, bodies))}</worldbody></mujoco>"
  )
  state = mujoco.MjData(model)
  for number, body in enumerate(bodies):
    place = slice(7 * number, 7 * number + 3)
    state.qpos[place] = _TURN.T @ body.place
    quaternion = np.zeros(4)
    rotation = _TURN.T @ body.rotation
    mujoco.mju_mat2Quat(quaternion, rotation.ravel())
    state.qpos[7 * number + 3 : 7 * number + 7] = quaternion
    state.qvel[6 * number : 6 * number + 3] = _TURN.T @ body.velocity
  return _record(mujoco, model, state, len(bodies), num_frames)


def _record(mujoco, model, state, count, num_frames):
  """Steps through the clip and keeps the poses of the frames."""
  wanted = np.rint(np.linspace(0, _STEPS, num_frames)).astype(int)
  rotations = np.zeros((count, num_frames, 3, 3))
  places = np.zeros((count, num_frames, 3))
  done = 0
  for frame, step in enumerate(wanted):
    while done < step:
      mujoco.mj_step(model, state)
      done += 1
    for number in range(count):
      pose = state.qpos[7 * number : 7 * number + 7]
      matrix = np.zeros(9)
      mujoco.mju_quat2Mat(matrix, pose[3:])
      rotations[number, frame] = _TURN @ matrix.reshape(3, 3)
      places[number, frame] = _TURN @ pose[:3]
  return list(zip(rotations, places))


_NOUNS = {
  "ball": ("ellipsoid", (0.9, 0.9, 0.9)),
  "cube": ("box", (0.75, 0.75, 0.75)),
  "box": ("box", (1.0, 0.55, 0.7)),
  "pill": ("capsule", (0.55, 0.6, 0.0)),
  "drum": ("cylinder", (0.8, 0.5, 0.0)),
}
_PLURAL = {
  "ball": "balls",
  "cube": "cubes",
  "box": "boxes",
  "pill": "pills",
  "drum": "drums",
}


def tumbling(
  draws: drafts.Draws, shot: shots.Shot, num_frames: int
) -> drafts.Draft:
  """Two or three things fall to the ground, hit each other and tumble."""
  look, hidden = draws.look, draws.hidden
  count = int(look.integers(2, 4))
  noun = randomness.pick(look, tuple(_NOUNS))
  shape, share = _NOUNS[noun]
  colours = [
    tuple(textures.PALETTE)[i]
    for i in look.permutation(len(textures.PALETTE))[:count]
  ]
  unit = 0.62 * shot.radius
  bodies, materials = [], []
  for number, colour in enumerate(colours):
    pattern = randomness.pick(look, textures.PATTERNS)
    materials.append(appearance.object_material(look, colour, pattern, unit))
    # Stacked with gaps that no turn of the body can close.
    reach = 1.5 * unit
    side = look.uniform(-0.5, 0.5, 2) * unit
    place = shot.subject * [1, 0, 1] + np.array(
      [side[0], -reach * (1.1 + 2.1 * number), side[1]]
    )
    turn = np.linalg.qr(look.normal(size=(3, 3)))[0]
    turn[:, 0] *= np.linalg.det(turn)
    velocity = hidden.uniform(-0.5, 0.5, 3) * np.array([1.0, 0.2, 0.6])
    bodies.append(Body(shape, np.array(share) * unit, place, turn, velocity))
  poses = simulate(bodies, num_frames)
  items = [
    primitives.Primitive(
      shape, body.size, rotation, place, (material,), number + 1
    )
    for number, (body, (rotation, place), material) in enumerate(
      zip(bodies, poses, materials)
    )
  ]
  named = " and ".join(wording.with_article(f"{c} {noun}") for c in colours)
  if count > 2:
    named = f"{wording.NUMBERS[count]} {_PLURAL[noun]}"
  sentence = randomness.pick(
    draws.words,
    (
      f"{named} fall to the ground and tumble",
      f"{named} fall down and hit each other",
      f"{named} drop onto the ground",
    ),
  )
  zone = (4.5 * unit, 4.5 * unit)
  return drafts.Draft(tuple(items), sentence, zone)
