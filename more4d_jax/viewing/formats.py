"""Moving points as 3D Gaussian splats, animated glTF and a COLMAP model."""

import os
import struct

import numpy as np
import PIL.Image
from jaxtyping import UInt8

from more4d_jax.viewing import clouds

_SH_0 = 0.28209479177387814  # The constant spherical harmonic.
_SPLAT = 0.5  # Standard deviation of a splat over the spacing of points.
_OPAQUE = 4.6  # Logit of an opacity of 0.99.
_PINHOLE = 1  # COLMAP's number of that model of a camera.
_COLMAP_POINT = np.dtype(
  [
    ("number", "<u8"),
    ("place", "<f8", 3),
    ("colour", "u1", 3),
    ("error", "<f8"),
    ("length", "<u8"),  # Of the track in pictures; none is kept.
  ]
)


def write_splats(folder: str, cloud: clouds.Cloud) -> None:
  """One 3D Gaussian splatting PLY file per frame, round opaque splats.

  Source: the layout of Kerbl et al., SIGGRAPH 2023: colours as spherical
  harmonics of degree 0, scales as logarithms, opacities as logits.
  """
  import plyfile

  names = "x y z nx ny nz f_dc_0 f_dc_1 f_dc_2 opacity scale_0 scale_1 scale_2"
  names = [*names.split(), *(f"rot_{i}" for i in range(4))]
  splats = np.zeros(cloud.positions.shape[1], [(name, "<f4") for name in names])
  for i in range(3):
    splats[f"f_dc_{i}"] = (cloud.colours[:, i] / 255 - 0.5) / _SH_0
    splats[f"scale_{i}"] = np.log(_SPLAT * cloud.spacing)
  splats["opacity"], splats["rot_0"] = _OPAQUE, 1
  os.makedirs(folder, exist_ok=True)
  for t, points in enumerate(cloud.positions):
    for i, name in enumerate("xyz"):
      splats[name] = points[:, i]
    element = plyfile.PlyElement.describe(splats, "vertex")
    path = os.path.join(folder, f"frame_{t:04d}.ply")
    plyfile.PlyData([element], byte_order="<").write(path)


def write_glb(path: str, cloud: clouds.Cloud, fps: float) -> None:
  """One binary glTF whose morph targets are the frames, played in a loop.

  y is up and the camera looks along -z, as glTF has it.
  """
  import pygltflib

  flip = np.asarray([1, -1, -1], np.float32)
  points = cloud.positions * flip
  opaque = np.full((len(cloud.colours), 1), 255, np.uint8)
  steps = points[1:] - points[:1]
  frames = len(points)
  weights = np.eye(frames, frames - 1, k=-1, dtype=np.float32)
  times = np.arange(frames, dtype=np.float32) / np.float32(fps)
  file = _Glb(pygltflib)
  position = file.add(points[0], "VEC3", bounds=True)
  colour = file.add(np.hstack([cloud.colours, opaque]), "VEC4")
  targets = [{"POSITION": file.add(s, "VEC3", bounds=True)} for s in steps]
  primitive = pygltflib.Primitive(
    attributes=pygltflib.Attributes(POSITION=position, COLOR_0=colour),
    mode=pygltflib.POINTS,
    targets=targets,
  )
  mesh = pygltflib.Mesh(primitives=[primitive], weights=[0.0] * (frames - 1))
  animations = []
  if frames > 1:
    sampler = pygltflib.AnimationSampler(
      input=file.add(times, "SCALAR", bounds=True),
      output=file.add(weights.reshape(-1), "SCALAR"),
    )
    target = pygltflib.AnimationChannelTarget(node=0, path="weights")
    channel = pygltflib.AnimationChannel(sampler=0, target=target)
    animations = [pygltflib.Animation(samplers=[sampler], channels=[channel])]
  file.save(path, mesh, animations)


class _Glb:
  """Arrays of a binary glTF file."""

  def __init__(self, library):
    self._library = library
    self._accessors, self._views, self._bytes = [], [], bytearray()

  def add(self, values: np.ndarray, kind: str, *, bounds: bool = False) -> int:
    """Number of the accessor that holds an array."""
    gltf = self._library
    data = np.ascontiguousarray(values)
    rows = data.reshape(len(data), -1)
    colour = data.dtype == np.uint8
    self._views.append(
      gltf.BufferView(
        buffer=0, byteOffset=len(self._bytes), byteLength=data.nbytes
      )
    )
    self._accessors.append(
      gltf.Accessor(
        bufferView=len(self._views) - 1,
        componentType=gltf.UNSIGNED_BYTE if colour else gltf.FLOAT,
        normalized=colour,
        count=len(data),
        type=kind,
        min=rows.min(axis=0).tolist() if bounds else None,
        max=rows.max(axis=0).tolist() if bounds else None,
      )
    )
    self._bytes += data.tobytes()
    return len(self._accessors) - 1

  def save(self, path: str, mesh, animations: list) -> None:
    """Writes the file."""
    gltf = self._library
    document = gltf.GLTF2(
      scene=0,
      scenes=[gltf.Scene(nodes=[0])],
      nodes=[gltf.Node(mesh=0)],
      meshes=[mesh],
      animations=animations,
      accessors=self._accessors,
      bufferViews=self._views,
      buffers=[gltf.Buffer(byteLength=len(self._bytes))],
    )
    document.set_binary_blob(bytes(self._bytes))
    document.save_binary(path)


def write_colmap(
  folder: str,
  cloud: clouds.Cloud,
  picture: UInt8[np.ndarray, "H W 3"],
) -> None:
  """A COLMAP model of the first frame: its camera, picture and points.

  As text and as binary, which programs look for in the same place.
  """
  images = os.path.join(folder, "images")
  sparse = os.path.join(folder, "sparse", "0")
  for name in (images, sparse):
    os.makedirs(name, exist_ok=True)
  PIL.Image.fromarray(picture).save(os.path.join(images, "frame_0000.png"))
  _write_colmap_text(sparse, cloud)
  _write_colmap_binary(sparse, cloud)


def _write_colmap_text(folder: str, cloud: clouds.Cloud) -> None:
  height, width = cloud.size
  numbers = " ".join(f"{float(v):.9g}" for v in cloud.intrinsics)
  rows = [
    f"{i} {x:.9g} {y:.9g} {z:.9g} {r} {g} {b} 0\n"
    for i, ((x, y, z), (r, g, b)) in enumerate(
      zip(cloud.positions[0].tolist(), cloud.colours.tolist()), start=1
    )
  ]
  for name, text in {
    "cameras": f"1 PINHOLE {width} {height} {numbers}\n",
    "images": "1 1 0 0 0 0 0 0 1 frame_0000.png\n\n",
    "points3D": "".join(rows),
  }.items():
    path = os.path.join(folder, f"{name}.txt")
    with open(path, "w", encoding="utf-8") as file:
      file.write(text)


def _write_colmap_binary(folder: str, cloud: clouds.Cloud) -> None:
  count = len(cloud.pixels)
  points = np.zeros(count, _COLMAP_POINT)
  points["number"] = np.arange(1, count + 1)
  points["place"], points["colour"] = cloud.positions[0], cloud.colours
  pose = (1, 0, 0, 0, 0, 0, 0)  # Quaternion and translation: the identity.
  for name, data in {
    "cameras": struct.pack(
      "<QiiQQ4d", 1, 1, _PINHOLE, *cloud.size[::-1], *cloud.intrinsics
    ),
    "images": struct.pack("<Qi7di", 1, 1, *pose, 1)
    + b"frame_0000.png\0"
    + struct.pack("<Q", 0),
    "points3D": struct.pack("<Q", count) + points.tobytes(),
  }.items():
    with open(os.path.join(folder, f"{name}.bin"), "wb") as file:
      file.write(data)
