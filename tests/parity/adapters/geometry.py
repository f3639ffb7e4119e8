"""Cameras, motion normalisation and rendering by projection."""

import functools
import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np

from more4d_jax.geometry import (
  camera_paths,
  cameras,
  cameras_compat,
  motion,
)
from more4d_jax.rendering import gaussians
from tests.parity.adapters import wan_weights
from tests.parity.original import cameras as original_cameras
from tests.parity.original import motion as original_motion
from tests.parity.original import zbuffer

_first, _last = wan_weights.channels_first, wan_weights.channels_last
# What config.json says of the paths: the function's default, in metres.
_DEFAULT_REACH = 0.3


def _pluecker(io: dict) -> dict:
  entries = io["in.pluecker.entries"].astype(np.float32)
  last = np.broadcast_to(np.float32([0, 0, 0, 1]), (len(entries), 1, 4))
  poses = np.concatenate([entries[:, 7:].reshape(-1, 3, 4), last], axis=1)
  size = io["out.pluecker"].shape[1:3]
  rays = original_cameras.pluecker_rays(
    jnp.asarray(entries[:, 1:5]), jnp.asarray(poses), size
  )
  return {"out.pluecker": rays}


def _cameras(io: dict) -> dict:
  pose, matrix = io["in.project.extrinsic"], io["in.project.intrinsic"]
  points = jnp.asarray(io["in.project.points"])
  seen = cameras.transform(points, cameras.invert_pose(jnp.asarray(pose)))
  xy, z = original_cameras.project(seen, jnp.asarray(matrix))
  position = jnp.asarray(io["in.unproject.xy"])
  ones = jnp.ones(len(position))
  rays = cameras_compat.lift(position, ones, jnp.asarray(matrix))
  turn = jnp.asarray(pose).at[:3, 3].set(0)
  rays = cameras.transform(rays, turn)
  return {
    "out.world2cam": jnp.pad(seen, ((0, 0), (0, 1)), constant_values=1),
    "out.project.xy": xy,
    "out.project.depth": z,
    "out.unproject": cameras_compat.lift(
      position, jnp.asarray(io["in.unproject.z"]), jnp.asarray(matrix)
    ),
    "out.world_rays.directions": rays
    / jnp.linalg.norm(rays, axis=-1, keepdims=True),
    "out.world_rays.origins": jnp.broadcast_to(pose[:3, 3], rays.shape),
  }


def _grids(io: dict) -> dict:
  out = {}
  for key, depth in io.items():
    name = re.match(r"in\.(back_project_\d+)\.depth$", key)
    if name:
      size = tuple(int(n) for n in io[f"in.{name[1]}.size"])
      alpha = cameras_compat.aspect_alpha(cameras_compat.INFERENCE_SOURCE, size)
      points = original_cameras.unproject(jnp.asarray(depth[None]), size, alpha)
      out[f"out.{name[1]}"] = points[0]
  for key in io:
    named = re.fullmatch(r"out\.intrinsic(?:_(\d+)x(\d+)_source)?", key)
    if named:
      source = cameras_compat.INFERENCE_SOURCE
      if named[1]:
        source = int(named[1]), int(named[2])
      alphas = [
        cameras_compat.aspect_alpha(source, (int(height), int(width)))
        for height, width in io["in.intrinsic.sizes"]
      ]
      out[key] = np.stack(
        [original_cameras.intrinsic_matrix(a) for a in alphas]
      )
  return out


def _perspective(io: dict) -> dict:
  fov = jnp.stack(
    [
      jnp.asarray(io[f"in.projection_matrix.fov_{axis}"], jnp.float32)
      for axis in "xy"
    ],
    axis=-1,
  )
  limits = (
    jnp.asarray(io[f"in.projection_matrix.{n}"]) for n in ("near", "far")
  )
  return {"out.projection_matrix": gaussians.perspective(*limits, fov)}


def _gaussians(io: dict) -> dict:
  quaternion = jnp.asarray(io["in.quaternion_xyzw"])
  matrix = jnp.asarray(io["in.project.intrinsic"])
  return {
    "out.quaternion_to_matrix": gaussians.rotation(quaternion),
    "out.build_covariance": gaussians.covariance(
      jnp.asarray(io["in.scale"]), quaternion
    ),
    "out.fov": gaussians.field_of_view(matrix)[None],
  }


def _paths(io: dict) -> dict:
  out = {}
  for key in io:
    found = re.match(r"out\.camera\.(\w+?)(_default)?_n(\d+)_c(\d+)$", key)
    if found:
      name, default, frames, number = found.groups()
      out[key] = camera_paths.named_path(
        name,
        int(frames),
        io[f"in.camera.center_{number}"],
        reach=_DEFAULT_REACH if default else None,
        compat=True,
      )
  return out


def _render(io: dict, poses: np.ndarray, dtype: str = "uint8") -> jax.Array:
  """Mean colours [T H W 3] of the scene."""
  points = _last(io["in.render.points"])[0]
  colours = jnp.asarray(io["in.render.colors"][0], dtype)
  size = points.shape[1:3]
  frames = [
    zbuffer.render_points(
      jnp.asarray(frame.reshape(-1, 3)),
      colours,
      jnp.asarray(pose),
      jnp.asarray(io["in.render.intrinsic"]),
      size,
    )
    for frame, pose in zip(points, poses)
  ]
  return jnp.stack(frames)


def _renderings(io: dict) -> dict:
  out = {}
  points = _last(io["in.render.points"])[0]
  centre = points[0].reshape(-1, 3).mean(axis=0)
  for key, value in io.items():
    stored = re.match(r"in\.render\.(\w+)\.extrinsics$", key)
    path = re.match(r"out\.render_trajectory\.(\w+)\.images$", key)
    if stored:
      name, poses = f"render.{stored.group(1)}", value
    elif path:
      name = f"render_trajectory.{path.group(1)}"
      poses = camera_paths.named_path(
        path.group(1), len(points), centre, compat=True
      )
    else:
      continue
    images = _render(io, poses)
    out[f"out.{name}.images"] = images
    out[f"out.{name}.masks"] = zbuffer.black_pixels(images)
  # The dataset shows the third frame from the first camera, with its mask on
  # three channels; neither the frame nor the pose is stored.
  poses = np.broadcast_to(np.eye(4, dtype=np.float32), (3, 4, 4))
  seen = _render(io, poses, "float32")[-1]
  mask = zbuffer.black_pixels(seen)[..., None]
  out["out.dataset_projection.image"] = seen
  out["out.dataset_projection.mask"] = jnp.repeat(mask, 3, axis=-1)
  return out


def _ties(io: dict, size: tuple[int, int]) -> dict:
  out = {}
  for dtype in ("float32", "uint8"):
    ties = zbuffer.render_points(
      jnp.asarray(io["in.render_ties.points"]),
      jnp.asarray(io["in.render_ties.colors"], dtype),
      jnp.eye(4),
      jnp.asarray(io["in.render.intrinsic"]),
      size,
    ).astype(jnp.uint8)
    name = f"out.render_ties.{dtype.removesuffix('32')}"
    out[f"{name}.image"] = ties
    out[f"{name}.mask"] = zbuffer.black_pixels(ties)
  return out


def _dataset(io: dict) -> dict:
  tracks = jnp.asarray(_last(io["in.dataset.flow"]))
  alpha = jnp.broadcast_to(
    jnp.asarray(motion.PUBLISHED_ALPHA, jnp.float32), (len(tracks), 2)
  )
  out = {
    f"out.dataset.normalized_by_{name}": _first(
      original_motion.normalise(tracks, alpha, mode)
    )
    for name, mode in (("depth", "depth"), ("first_frame", "first_frame_range"))
  }
  for key in io:
    length = re.match(r"out\.dataset\.(?:cut|padded)_to_(\d+)$", key)
    if length:
      out[key] = _first(
        original_motion.fit_length(tracks, int(length.group(1)))
      )
  return out


def _rebuilt(io: dict) -> dict:
  moved = jnp.asarray(_last(io["in.inverse_flow_b1.flow"]))
  still = jnp.ones((len(moved), *moved.shape[2:]))
  mode = "first_frame_range"
  scale = motion.scale_of(moved, still, mode)
  # Frame 0 of a decoded motion is replaced later, so it stands behind one.
  padded = jnp.concatenate([moved[:, :1], moved], axis=1)
  rebuilt = motion.denormalise(
    padded, still, jnp.ones((len(moved), 2)), mode, scale
  )
  return {
    "out.inverse_flow_constant_frame": _first(rebuilt[:, 1:]),
    "out.inverse_flow_constant_frame.diff": jnp.repeat(
      scale[:, None], 3, axis=1
    ),
  }


def run(folder: pathlib.Path) -> dict[str, np.ndarray]:
  """Every required key of the folder."""
  info, io, _ = wan_weights.read(folder)
  size = tuple(info["render_size"])
  out = {**_grids(io), **_paths(io)}
  for needed, part in {
    "in.pluecker.entries": _pluecker,
    "in.project.points": _cameras,
    "in.projection_matrix.near": _perspective,
    "in.quaternion_xyzw": _gaussians,
    "in.render.points": _renderings,
    "in.render_ties.points": functools.partial(_ties, size=size),
    "in.dataset.flow": _dataset,
    "in.inverse_flow_b1.flow": _rebuilt,
  }.items():
    if needed in io:
      out |= part(io)
  return out
