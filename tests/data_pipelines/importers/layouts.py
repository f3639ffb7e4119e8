"""Writes a world in the documented layout of each data set."""

import gzip
import io
import json
import struct

import numpy as np
from PIL import Image
from tensorflow_datasets.proto import tf_example_pb2

from data_pipelines.importers import tfrecord
from more4d_jax.data.codec import array_codec

BLENDER = np.diag([1.0, -1, -1, 1])


def film(path, video, fps=24.0):
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_bytes(array_codec.encode_video(video, fps))


def picture(array, name="PNG"):
  file = io.BytesIO()
  Image.fromarray(array).save(file, name)
  return file.getvalue()


def matrices(world, shift=0.0):
  """[T 3 3] with the first pixel's centre at 0.5 - shift."""
  matrix = world.matrix.copy()
  matrix[:2, 2] -= shift
  return np.repeat(matrix[None], len(world.poses), 0)


def plain(folder, world, grid=None, **more):
  lead = world.points.shape[:2] if grid is None else (len(world.points), *grid)
  np.savez(
    folder / "scene.npz",
    tracks=world.points.reshape(*lead, 3),
    visible=world.visible.reshape(lead),
    tracks_2d=world.positions.reshape(*lead, 2),
    intrinsics=world.matrix,
    world_from_camera=world.poses,
    axes="world",
    video=world.video,
    caption="points drift",
    fps=12.0,
    **more,
  )


def video(folder, world, grid=None, shift=0.5):
  """Pixels counted from the first pixel's centre, as trackers do."""
  lead = world.points.shape[:2] if grid is None else (len(world.points), *grid)
  film(folder / "clip.mp4", world.video)
  np.save(folder / "clip.depth.npy", world.maps.astype(np.float32))
  np.savez(
    folder / "clip.tracks.npz",
    tracks=world.positions.reshape(*lead, 2) - shift,
    visible=world.visible.reshape(lead),
    intrinsics=matrices(world, shift)[0],
    pixel_centre=0.5 - shift,
    world_from_camera=world.poses,
  )
  (folder / "clip.txt").write_text("points drift\n")


def tapip3d(folder, world, channels_first=False):
  shown = world.video
  if channels_first:
    shown = np.moveaxis(world.video, -1, 1).astype(np.float32) / 255
  np.savez(
    folder / "result.npz",
    video=shown,
    depths=world.maps.astype(np.float32),
    intrinsics=matrices(world, 0.5).astype(np.float32),
    extrinsics=np.linalg.inv(world.poses).astype(np.float32),
    coords=world.points.astype(np.float32),
    visibs=world.visible,
    query_points=np.zeros((world.points.shape[1], 4), np.float32),
  )


def tapvid3d(folder, world, poses=True):
  more = {"extrinsics_w2c": np.linalg.inv(world.poses)} if poses else {}
  np.savez(
    folder / "clip.npz",
    images_jpeg_bytes=[picture(frame, "JPEG") for frame in world.video],
    tracks_XYZ=world.own,
    visibility=world.visible,
    fx_fy_cx_cy=world.matrix[[0, 1, 0, 1], [0, 1, 2, 2]],
    queries_xyt=np.zeros((world.points.shape[1], 3)),
    **more,
  )


def stereo4d(folder, world):
  """Needs a square picture 60 degrees wide."""
  film(folder / "clip-left_rectified.mp4", world.video)
  point, frame = np.nonzero(world.visible.T)
  np.savez(
    folder / "clip.npz",
    camera2world=world.poses[:, :3],
    track_lengths=world.visible.sum(0),
    track_indices=frame,
    track_coordinates=world.points[frame, point],
    timestamps=np.arange(len(world.poses)),
    rectified2rig=np.tile(np.eye(3), (2, 1, 1)),
    fov_bounds=np.zeros(4),
  )


def pointodyssey(folder, world, old=False):
  scene = folder / "train" / "ani"
  (scene / "rgbs").mkdir(parents=True)
  (scene / "depths").mkdir()
  for t, (frame, depth) in enumerate(zip(world.video, world.maps)):
    name = f"{t:05d}"
    (scene / "rgbs" / f"rgb_{name}.jpg").write_bytes(picture(frame, "JPEG"))
    stored = np.round(depth / 1000 * 65535).astype(np.uint16)
    (scene / "depths" / f"depth_{name}.png").write_bytes(picture(stored))
  extrinsics = np.linalg.inv(world.poses)
  if old:  # Blender's camera, and a world with y and z exchanged.
    world_turned = np.array(
      [[1.0, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1]]
    )
    extrinsics = BLENDER @ extrinsics @ world_turned
  np.savez(
    scene / "anno.npz",
    trajs_2d=world.positions,
    trajs_3d=world.points,
    visibs=world.visible,
    valids=np.ones_like(world.visible),
    intrinsics=matrices(world),
    extrinsics=extrinsics,
  )


def dynamic_replica(folder, world, save):
  """PyTorch3D's cameras: X R + T, x left, y up, normalised coordinates."""
  height, width = world.video.shape[1:3]
  half, scale = np.array([width, height]) / 2, min(height, width) / 2
  entries = []
  for t, frame in enumerate(world.video):
    camera = np.diag([-1.0, -1, 1, 1]) @ np.linalg.inv(world.poses[t])
    paths = {
      "image": f"seq/images/left-{t:04d}.png",
      "depth": f"seq/depths/left_{t:04d}.geometric.png",
      "trajectories": f"seq/trajectories/{t:06d}.pth",
    }
    for path in paths.values():
      (folder / "train" / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / "train" / paths["image"]).write_bytes(picture(frame))
    stored = world.maps[t].astype(np.float16).view(np.uint16)
    (folder / "train" / paths["depth"]).write_bytes(picture(stored))
    save(
      {
        "traj_3d_world": world.points[t].astype(np.float32),
        "traj_2d": np.c_[world.positions[t], world.depth[t]].astype(np.float32),
        "verts_inds_vis": world.visible[t],
      },
      folder / "train" / paths["trajectories"],
    )
    entries.append(
      {
        "sequence_name": "seq",
        "camera_name": "left",
        "frame_number": t,
        "image": {"path": paths["image"], "size": [height, width]},
        "depth": {"path": paths["depth"], "scale_adjustment": 1.0},
        "trajectories": {"path": paths["trajectories"]},
        "viewpoint": {
          "R": camera[:3, :3].T.tolist(),
          "T": camera[:3, 3].tolist(),
          "focal_length": (np.diag(world.matrix)[:2] / scale).tolist(),
          "principal_point": ((half - world.matrix[:2, 2]) / scale).tolist(),
          "intrinsics_format": "ndc_isotropic",
        },
      }
    )
  path = folder / "frame_annotations_train.jgz"
  path.write_bytes(gzip.compress(json.dumps(entries).encode()))


def example(features):
  """A serialised tf.train.Example."""
  made = tf_example_pb2.Example()
  for name, values in features.items():
    feature = made.features.feature[name]
    if isinstance(values, list):
      feature.bytes_list.value.extend(values)
    elif values.dtype.kind == "f":
      feature.float_list.value.extend(values.ravel().tolist())
    else:
      feature.int64_list.value.extend(values.ravel().tolist())
  return made.SerializeToString()


def tfrecord_file(path, payloads):
  with path.open("wb") as file:
    for payload in payloads:
      length = struct.pack("<Q", len(payload))
      file.write(length + struct.pack("<I", tfrecord.masked_crc(length)))
      file.write(payload + struct.pack("<I", tfrecord.masked_crc(payload)))
