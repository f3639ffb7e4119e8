"""Whether a film shows the scene, and why where it hardly does."""

import numpy as np
from jaxtyping import Bool, Float

from more4d_jax import errors, inputs, plausibility
from more4d_jax import scene as scene_lib
from more4d_jax.geometry import camera_paths, path_reach

_POINTS = 2000  # That are looked at for the reason.
_REMEDY = "; --allow-empty films it all the same"


def check(
  covered: Bool[np.ndarray, "T H W"],
  scene: scene_lib.Scene,
  path: camera_paths.CameraPath,
  label: str,
  *,
  allow_empty: bool | None,
) -> None:
  """Warns of a film that shows little of a scene; refuses an empty one.

  Args:
    covered: where the rendering drew points.
    scene: that was filmed.
    path: of the camera, with a pose for each frame.
    label: of the path, for messages.
    allow_empty: whether an empty film is wanted; None if no flag asks for it.

  Raises:
    UserError: if no pixel of the film is covered.
  """
  share = float(covered.mean())
  if share >= plausibility.LOW_COVERAGE:
    return
  if share == 0 and not allow_empty:
    remedy = "" if allow_empty is None else _REMEDY
    raise _empty(label, _reason(scene, path), remedy)
  plausibility.LOG.warning(
    "%s: only %.1f %% of the pixels show the scene: %s",
    label,
    100 * share,
    _reason(scene, path),
  )


def check_before(
  prepared: inputs.Prepared,
  name: str,
  num_frames: int,
  *,
  resample: bool = False,
) -> None:
  """Refuses a camera file that sees nothing of a picture's first points.

  Args:
    prepared: picture with depth.
    name: of the camera file.
    num_frames: of the film.
    resample: see `Scene.camera_path`.

  Raises:
    UserError: if it sees none of them in any frame.
  """
  check_scene(standing(prepared, num_frames), name, resample=resample)


def check_scene(
  scene: scene_lib.Scene, name: str, *, resample: bool = False
) -> None:
  """Refuses a camera file that sees nothing, for commands with `FilmFlags`.

  Args:
    scene: to film.
    name: of the camera file.
    resample: see `Scene.camera_path`.

  Raises:
    UserError: if it sees no point in any frame.
  """
  path = scene.camera_path(name, resample=resample)
  if not path_reach.predicted_coverage(
    scene.tracks, scene.intrinsics, path
  ).any():
    raise _empty(camera_paths.label(name), _reason(scene, path), _REMEDY)


def _empty(label: str, reason: str, remedy: str) -> errors.UserError:
  return errors.UserError(
    f"{label}: expected a camera that sees the scene, found none of its points "
    f"in view: {reason}{remedy}"
  )


def standing(prepared: inputs.Prepared, num_frames: int) -> scene_lib.Scene:
  """The first points of a picture, which stay where they are."""
  height, width = prepared.depth.shape
  fx, fy, cx, cy = prepared.intrinsics
  rows, columns = np.mgrid[:height, :width] + 0.5
  points = np.stack(
    [(columns - cx) / fx, (rows - cy) / fy, np.ones_like(rows)], axis=-1
  )
  points = np.float32(points * prepared.depth[..., None])
  return scene_lib.Scene(
    np.broadcast_to(points, (num_frames, *points.shape)),
    np.broadcast_to(prepared.valid, (num_frames, height, width)),
    prepared.image,
    prepared.intrinsics,
    1,
  )


def _reason(scene: scene_lib.Scene, path: camera_paths.CameraPath) -> str:
  """What keeps points out of view, from where most of them are."""
  behind, outside = _shares(scene, path.world_from_camera, path.intrinsics)
  if behind > 0.5:
    return f"{100 * behind:.0f} % of its points lie behind the camera"
  if outside > 0.5:
    return (
      f"{100 * outside:.0f} % of its points lie outside the picture; check the "
      "path's direction and its intrinsics"
    )
  return (
    "its points lie too far apart for this size; film fewer pixels, or draw "
    "larger points"
  )


def _shares(
  scene: scene_lib.Scene,
  poses: Float[np.ndarray, "T 4 4"],
  intrinsics: Float[np.ndarray, "T 4"] | None,
) -> tuple[float, float]:
  """Shares of points behind the camera, and before it but out of view."""
  if intrinsics is None:
    intrinsics = np.broadcast_to(scene.intrinsics, (len(poses), 4))
  height, width = scene.size
  step = max(1, height * width // _POINTS)
  behind, outside = [], []
  for points, pose, (fx, fy, cx, cy) in zip(scene.tracks, poses, intrinsics):
    some = points.reshape(-1, 3)[::step].astype(np.float64)
    x, y, z = ((some - pose[:3, 3]) @ pose[:3, :3]).T
    before = z > 1e-6
    with np.errstate(all="ignore"):
      column, row = fx * x / z + cx, fy * y / z + cy
      inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    behind.append(1 - before.mean())
    outside.append((before & ~inside).mean())
  return float(np.mean(behind)), float(np.mean(outside))
