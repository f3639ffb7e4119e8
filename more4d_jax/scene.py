"""A 4D scene: every pixel of a picture as a point that moves.

File: `.npz` with `tracks` [T H W 3] float32 or float16, `visible` [T H W]
bool, `colours` [H W 3] uint8, `intrinsics` [4] float32, `fps`, and `metadata`
as a JSON string. `numpy.load` reads all of them.

Version 2, which is written: `tracks` and `visible` lie in Fortran order, the
frames of a point side by side, which compresses still and smooth points well;
`metadata["storage"]` holds `version` and the kind of `tracks`. A compact file
has float16 tracks, whose error is at most 2^-11 = 4.9e-4 of a coordinate, thus
of the depth of a point that is seen at up to 45 degrees from the axis, and of
any point's distance. Version 1 had C order and no `storage`.
"""

import dataclasses
import json
import os
import zipfile
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from jaxtyping import Bool, Float, UInt8

from more4d_jax import array_files, errors, plausibility, whole_files
from more4d_jax.geometry import camera_paths, timing

if TYPE_CHECKING:
  from more4d_jax.rendering import render_video

_VERSION = 2
_FIELDS = ("tracks", "visible", "colours", "intrinsics", "fps", "metadata")


@dataclasses.dataclass(frozen=True)
class Scene:
  """Coloured trajectories of the pixels of one picture.

  Attributes:
    tracks: metres, in the first camera's frame; float32 or float16.
    visible: False where a point is hidden from the first camera.
    colours: the picture.
    intrinsics: (fx, fy, cx, cy) in pixels of the picture.
    fps: frames per second.
    metadata: how the scene was made; JSON values.
  """

  tracks: Float[np.ndarray, "T H W 3"]
  visible: Bool[np.ndarray, "T H W"]
  colours: UInt8[np.ndarray, "H W 3"]
  intrinsics: Float[np.ndarray, "4"]
  fps: float | int
  metadata: dict[str, Any] = dataclasses.field(default_factory=dict)

  @property
  def num_frames(self) -> int:
    """T."""
    return self.tracks.shape[0]

  @property
  def size(self) -> tuple[int, int]:
    """(H, W) of the picture."""
    return self.tracks.shape[1], self.tracks.shape[2]

  @property
  def centre(self) -> Float[np.ndarray, "3"]:
    """Median first-frame point, which camera paths turn about; metres."""
    return camera_paths.scene_centre(self.tracks[0].astype(np.float32))

  def save(self, file: str | os.PathLike, *, compact: bool = False) -> None:
    """Writes the `.npz` file; a file of that name is replaced at once.

    Args:
      file: its name.
      compact: whether tracks become float16. They stay float32 if a point is
        farther than float16 reaches, 65,504 m; the metadata says which.

    Raises:
      UserError: the folder does not exist.
    """
    file = os.path.abspath(os.fspath(file))
    folder = os.path.dirname(file)
    if not os.path.isdir(folder):
      raise errors.UserError(
        f"{folder}: no such folder to write a scene to; create it first"
      )
    tracks = _halved(self.tracks) if compact else self.tracks
    storage = {"version": _VERSION, "tracks": tracks.dtype.name}
    fields = {
      "tracks": np.asfortranarray(tracks),
      "visible": np.asfortranarray(self.visible),
      "colours": self.colours,
      "intrinsics": self.intrinsics,
      "fps": np.float32(self.fps),
      "metadata": np.asarray(json.dumps(self.metadata | {"storage": storage})),
    }
    with whole_files.replaced(file) as name, open(name, "wb") as stream:
      _write(stream, fields)

  @classmethod
  def load(cls, file: str | os.PathLike) -> "Scene":
    """Reads a scene.

    Raises:
      UserError: missing, damaged or foreign file, or arrays of wrong shapes.
    """
    name = os.fspath(file)
    fields = _read(name)
    _check(fields, name)
    return cls(
      tracks=np.ascontiguousarray(fields["tracks"]),
      visible=np.ascontiguousarray(fields["visible"]),
      colours=fields["colours"],
      intrinsics=fields["intrinsics"].astype(np.float32),
      fps=float(fields["fps"]),
      metadata=_metadata(fields["metadata"], name),
    )

  def at(self, when: Float[np.ndarray, "N"]) -> "Scene":
    """The scene at other moments, its points on smooth curves between frames.

    Args:
      when: times in frames, from 0 to T - 1; see `geometry.timing`.
    """
    tracks = timing.at_moments(self.tracks, when)
    nearest = np.rint(when).astype(int)
    return dataclasses.replace(
      self, tracks=tracks, visible=self.visible[nearest]
    )

  def on_surfaces(self, edge_threshold: float = 0.05) -> "Scene":
    """The scene as the renderer shows it: no points between two surfaces.

    Those on the ramp of depth at an outline go to the surface beside them;
    the first camera sees the same.

    Args:
      edge_threshold: see `render_video.RenderOptions`; 0 changes nothing.
    """
    if edge_threshold <= 0:
      return self
    from more4d_jax.rendering import render_video

    tracks = render_video.on_surfaces(self.tracks, edge_threshold)
    return dataclasses.replace(self, tracks=tracks)

  def camera_path(
    self,
    path: str | os.PathLike,
    reach: float = 1.0,
    *,
    resample: bool = False,
  ) -> camera_paths.CameraPath:
    """A named path, or the one in a file, with a pose for each frame.

    Args:
      path: what users write.
      reach: share of a named path's motion, see `camera_paths.scaled`.
      resample: brings a file's poses to the scene's number of frames.

    Returns: the path, its intrinsics in pixels of the scene's picture.

    Raises:
      UserError: unknown path, unreadable file, wrong number of poses, or
        intrinsics of no picture.
    """
    name = os.fspath(path)
    found = camera_paths.find(
      name,
      self.num_frames,
      self.centre,
      self.intrinsics,
      reach=reach,
      resample=resample,
    )
    if name in camera_paths.NAMES:
      return dataclasses.replace(found, size=self.size)
    return found.for_picture(self.size, name)

  def render(
    self,
    path: str
    | os.PathLike
    | camera_paths.CameraPath
    | Float[np.ndarray, "N 4 4"],
    options: "render_video.RenderOptions | None" = None,
  ) -> tuple[UInt8[np.ndarray, "T h w 3"], Bool[np.ndarray, "T h w"]]:
    """Renders the scene along a camera path.

    Args:
      path: a named path, a camera file, a path, or poses: world_from_camera
        of each frame, or a single one for all.
      options: size of the video and of the points.

    Returns:
      The video, and its coverage: False where no point was drawn.

    Raises:
      UserError: unknown path, unreadable file, wrong number of poses.
    """
    from more4d_jax.rendering import render_video

    if isinstance(path, np.ndarray):
      poses = plausibility.rigid_poses(path, "a pose")
      path = camera_paths.CameraPath(poses.astype(np.float32), None)
    if isinstance(path, camera_paths.CameraPath):
      name = "the camera path"
      path = path.for_frames(self.num_frames, name)
      path = path.for_picture(self.size, name)
    else:
      path = self.camera_path(path)
    return render_video.render_video(
      self.tracks,
      self.colours,
      path.world_from_camera,
      self.intrinsics,
      options,
      camera_intrinsics=path.intrinsics,
    )


def _halved(tracks: Float[np.ndarray, "T H W 3"]) -> np.ndarray:
  """Tracks as float16, or unchanged if one of them would become infinite."""
  with np.errstate(over="ignore"):
    half = tracks.astype(np.float16)
  same = np.array_equal(np.isfinite(half), np.isfinite(tracks))
  return half if same else tracks


def _write(stream: BinaryIO, fields: Mapping[str, np.ndarray]) -> None:
  """An `.npz` archive, compressed for speed."""
  with zipfile.ZipFile(
    stream, "w", zipfile.ZIP_DEFLATED, compresslevel=1
  ) as archive:
    for name, array in fields.items():
      with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
        np.lib.format.write_array(
          entry, np.asanyarray(array), allow_pickle=False
        )


def _read(name: str) -> dict[str, np.ndarray]:
  if not os.path.isfile(name):
    raise errors.UserError(
      f"{name}: no such scene file; give the scene.npz that `more4d generate` "
      "wrote"
    )
  try:
    found = array_files.names(name)
    missing = [field for field in _FIELDS if field not in found]
    if missing:
      raise errors.UserError(
        f"{name}: not a scene file: it lacks {', '.join(missing)}; it has "
        f"{', '.join(found) or 'nothing'}"
      )
    plausibility.say_unread(set(found) - set(_FIELDS), name)
    return array_files.read_npz(name, _FIELDS)
  except errors.UserError:
    raise
  except array_files.DAMAGE as error:
    raise errors.UserError(
      f"{name}: expected a scene .npz file; it is damaged or of another kind "
      f"({error}); write it again with `more4d generate`"
    ) from error


def _check(fields: dict[str, np.ndarray], name: str) -> None:
  """Shapes and kinds of every array."""
  tracks = fields["tracks"]
  grid = tracks.shape[:3] if tracks.ndim == 4 else ("T", "H", "W")
  expected = {
    "tracks": ((*grid, 3), ("float32", "float16")),
    "visible": (grid, ("bool",)),
    "colours": ((*grid[1:], 3), ("uint8",)),
    "intrinsics": ((4,), ("float32", "float64")),
    "fps": ((), ("float32", "float64", "int64", "int32")),
  }
  for field, (shape, dtypes) in expected.items():
    array = fields[field]
    if array.shape != shape or array.dtype.name not in dtypes or not array.size:
      wanted = " x ".join(map(str, shape)) or "one number"
      raise errors.UserError(
        f"{name}: damaged scene: {field} must be {wanted} of "
        f"{' or '.join(dtypes)}, found {array.shape} of {array.dtype.name}"
      )
  intrinsics, fps = fields["intrinsics"], float(fields["fps"])
  if not (np.isfinite(intrinsics).all() and (intrinsics[:2] > 0).all()):
    raise errors.UserError(
      f"{name}: damaged scene: intrinsics must be finite with positive focal "
      f"lengths, found {intrinsics.tolist()}"
    )
  plausibility.frame_rate(fps, f"{name}: damaged scene")
  if not np.isfinite(fields["tracks"][0]).all(axis=-1).any():
    raise errors.UserError(
      f"{name}: damaged scene: expected points in the first frame, found no "
      "point with finite coordinates; make it again, its depth may be unknown"
    )


def _metadata(value: np.ndarray, name: str) -> dict[str, Any]:
  try:
    metadata = json.loads(str(value))
  except (ValueError, RecursionError) as error:
    raise errors.UserError(
      f"{name}: damaged scene: metadata is not JSON ({error})"
    ) from error
  if not isinstance(metadata, dict):
    raise errors.UserError(
      f"{name}: damaged scene: metadata must be a JSON object"
    )
  storage = metadata.pop("storage", {"version": 1})
  version = storage.get("version") if isinstance(storage, dict) else storage
  if version not in range(1, _VERSION + 1):
    raise errors.UserError(
      f"{name}: expected a scene file of version 1 to {_VERSION}, found "
      f"{version!r}: read it with the more4d_jax that wrote it"
    )
  return metadata
