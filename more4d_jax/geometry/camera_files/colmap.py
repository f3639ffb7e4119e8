"""COLMAP models: images and cameras, as text or binary files.

A path is the folder of a model, its images file, or a text that is one under
another name; the cameras file lies beside it. An image has camera_from_world
as a quaternion (w, x, y, z) and a translation, OpenCV axes; pixel centres lie
at + 0.5, as here. Frames are put in the order of their pictures' names.
Source: COLMAP's documentation of its output format.
"""

import dataclasses
import os
import pathlib
import struct
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from jaxtyping import Float
from scipy.spatial import transform

from more4d_jax import errors, plausibility
from more4d_jax.geometry.camera_files import colmap_lens, content, naming, path

_FOLDERS = ("", "sparse/0", "sparse")


@dataclasses.dataclass(frozen=True)
class _Image:
  """A registered picture: its name, pose and the number of its camera."""

  name: str
  camera: int
  quaternion: tuple[float, ...]
  translation: tuple[float, ...]


def matches(found: content.Content) -> bool:
  """Whether it is a folder or images file of a model."""
  if found.fields is not None:
    return False
  if found.lines is None:
    return _images_file(found.name) is not None
  return any(_image(line) for line in _entries(found.lines)[:2])


def read(found: content.Content) -> path.CameraPath:
  """Reads a model; the path starts at its first camera.

  Raises:
    UserError: if a file is missing or damaged, or a lens no pinhole.
  """
  if found.lines is None:
    found = dataclasses.replace(found, name=_images_file(found.name))
  name = found.name
  if name.endswith(".bin"):
    images = list(_binary_images(name))
  else:
    lines = found.lines or content.read_text(name).splitlines()
    images = list(_text_images(lines, name))
  if not images:
    raise errors.UserError(f"{name}: no image has a pose in this COLMAP model")
  images = [
    images[i] for i in naming.in_order([image.name for image in images])
  ]
  cameras = _cameras(pathlib.Path(name))
  lens = size = None
  if cameras is None:
    plausibility.LOG.warning(
      "%s: no cameras file lies beside it; the scene's own lens is used", name
    )
  else:
    absent = {image.camera for image in images} - set(cameras)
    if absent:
      raise errors.UserError(
        f"{name}: the cameras file beside it lacks camera {min(absent)}"
      )
    lens, size = colmap_lens.together(
      [cameras[image.camera] for image in images], name
    )
  return path.make(_poses(images, name), lens, size, name).from_first()


def _poses(images: Sequence[_Image], name: str) -> Float[np.ndarray, "T 4 4"]:
  """world_from_camera of images."""
  what = f"{name}: a pose"
  turns = plausibility.numbers([i.quaternion for i in images], what)
  norms = np.linalg.norm(turns, axis=1)
  if (np.abs(norms - 1) > 1e-2).any():
    raise errors.UserError(
      f"{name}: expected quaternions of length 1, found "
      f"{norms[int(np.argmax(np.abs(norms - 1)))]:.4g}"
    )
  poses = np.tile(np.eye(4), (len(images), 1, 1))
  rotation = transform.Rotation.from_quat(turns, scalar_first=True)
  poses[:, :3, :3] = rotation.as_matrix()
  poses[:, :3, 3] = plausibility.numbers([i.translation for i in images], what)
  return np.linalg.inv(poses)


def _images_file(name: str) -> str | None:
  """The images file of a folder; the file itself if it is one."""
  if not os.path.isdir(name):
    base = os.path.basename(name)
    return name if base == "images.bin" and os.path.isfile(name) else None
  for folder in _FOLDERS:
    for base in ("images.bin", "images.txt"):
      found = os.path.join(name, folder, base)
      if os.path.isfile(found):
        return found
  return None


def _entries(lines: Sequence[str]) -> list[str]:
  """Lines but for comments; empty ones count, they are lists of no points."""
  return [line for line in lines if not line.lstrip().startswith("#")]


def _image(line: str) -> _Image | None:
  words = line.split(maxsplit=9)
  try:
    numbers = [float(word) for word in words[1:8]]
    _, camera = int(words[0]), int(words[8])
    return _Image(words[9].strip(), camera, (*numbers[:4],), (*numbers[4:],))
  except (ValueError, IndexError):
    return None


def _text_images(lines: Sequence[str], name: str) -> Iterator[_Image]:
  """Every second line is an image, the next its points, perhaps left out."""
  points = False
  for number, line in enumerate(_entries(lines), start=1):
    image = _image(line)
    if points and not (image and os.path.splitext(image.name)[1]):
      points = False
    elif image is not None:
      points = True
      yield image
    elif line.strip():
      raise errors.UserError(
        f"{name}: expected id, quaternion, translation, camera and name of an "
        f"image in entry {number}, found {line.strip()[:60]!r}"
      )


def _cameras(images: pathlib.Path) -> Mapping[int, colmap_lens.Lens] | None:
  """Cameras by number from the file beside that of the images."""
  for name, reader in (
    (images.with_name("cameras.bin"), _binary_cameras),
    (images.with_name("cameras.txt"), _text_cameras),
  ):
    if name.is_file():
      return dict(reader(str(name)))
  return None


def _text_cameras(name: str) -> Iterator[tuple[int, colmap_lens.Lens]]:
  for line in _entries(content.read_text(name).splitlines()):
    words = line.split()
    if not words:
      continue
    try:
      number, model = int(words[0]), colmap_lens.BY_NAME[words[1]]
      width, height, *values = map(float, words[2:])
    except (ValueError, LookupError) as error:
      raise errors.UserError(
        f"{name}: expected id, model, width, height and numbers of a camera, "
        f"found {line.strip()[:60]!r}"
      ) from error
    yield number, colmap_lens.lens(model, (height, width), values, name)


class _Bytes:
  """A binary file read from its start, never past its end."""

  def __init__(self, name: str):
    """Reads the whole file."""
    self.name = name
    self._data = pathlib.Path(name).read_bytes()
    self._at = 0

  def take(self, form: str) -> tuple:
    """The next values of a `struct` format."""
    form = f"<{form}"
    self.skip(struct.calcsize(form))
    return struct.unpack_from(
      form, self._data, self._at - struct.calcsize(form)
    )

  def skip(self, count: int) -> None:
    """Skips a number of bytes."""
    if self._at + count > len(self._data):
      raise errors.UserError(
        f"{self.name}: expected a binary file of COLMAP, found one that ends "
        "too early: it is damaged"
      )
    self._at += count

  def text(self) -> str:
    """The next text, which ends with a zero."""
    end = self._data.find(b"\0", self._at)
    if end < 0:
      self.skip(len(self._data) + 1)
    found = self._data[self._at : end]
    self._at = end + 1
    return found.decode("utf-8", "replace")


def _binary_images(name: str) -> Iterator[_Image]:
  data = _Bytes(name)
  (count,) = data.take("Q")
  for _ in range(count):
    _, *numbers, camera = data.take("I7dI")
    label = data.text()
    (points,) = data.take("Q")
    data.skip(24 * points)
    yield _Image(label, camera, (*numbers[:4],), (*numbers[4:],))


def _binary_cameras(name: str) -> Iterator[tuple[int, colmap_lens.Lens]]:
  data = _Bytes(name)
  (count,) = data.take("Q")
  for _ in range(count):
    number, kind, width, height = data.take("IiQQ")
    model = colmap_lens.BY_NUMBER.get(kind)
    if model is None:
      raise errors.UserError(
        f"{name}: expected camera models 0 to {len(colmap_lens.MODELS) - 1} "
        f"of COLMAP, found {kind}"
      )
    values = data.take(f"{model.parameters}d")
    yield number, colmap_lens.lens(model, (height, width), values, name)


def _entries_of(found: path.CameraPath) -> Iterator[tuple[list[float], str]]:
  """Quaternion, translation and name of every frame."""
  poses = np.linalg.inv(found.world_from_camera.astype(np.float64))
  turns = transform.Rotation.from_matrix(poses[:, :3, :3])
  quaternions = turns.as_quat(canonical=True, scalar_first=True)
  for number, (turn, pose) in enumerate(zip(quaternions, poses)):
    yield [*turn, *pose[:3, 3]], naming.frame(number)


def write_text(name: str | os.PathLike, found: path.CameraPath) -> None:
  """Writes a folder of cameras.txt, images.txt and an empty points3D.txt."""
  lens, (height, width) = path.lens_of(found, "COLMAP")
  cameras, images = [], []
  for number, values in enumerate(lens, start=1):
    words = " ".join(f"{v:.12g}" for v in values)
    cameras.append(f"{number} PINHOLE {width} {height} {words}\n")
  for number, (values, label) in enumerate(_entries_of(found), start=1):
    words = " ".join(f"{v:.12g}" for v in values)
    images.append(f"{number} {words} {number} {label}\n\n")
  _write(
    name,
    {
      "cameras.txt": "".join(cameras).encode(),
      "images.txt": "".join(images).encode(),
      "points3D.txt": b"",
    },
  )


def write_binary(name: str | os.PathLike, found: path.CameraPath) -> None:
  """Writes a folder of cameras.bin, images.bin and an empty points3D.bin."""
  lens, (height, width) = path.lens_of(found, "COLMAP")
  count = struct.pack("<Q", len(lens))
  cameras, images = [count], [count]
  for number, values in enumerate(lens, start=1):
    cameras.append(struct.pack("<IiQQ4d", number, 1, width, height, *values))
  for number, (values, label) in enumerate(_entries_of(found), start=1):
    images.append(struct.pack("<I7dI", number, *values, number))
    images.append(label.encode() + b"\0" + struct.pack("<Q", 0))
  _write(
    name,
    {
      "cameras.bin": b"".join(cameras),
      "images.bin": b"".join(images),
      "points3D.bin": struct.pack("<Q", 0),
    },
  )


def _write(name: str | os.PathLike, files: Mapping[str, bytes]) -> None:
  """Writes a folder; the file that makes it a model comes last."""
  folder = pathlib.Path(name)
  folder.mkdir(parents=True, exist_ok=True)
  for base, data in sorted(files.items(), key=lambda item: "images" in item[0]):
    content.write(folder / base, data)
