"""A record's fields as tensorflow-datasets knows and decodes them.

Every field is one byte string on disk. `features.json` names the class here,
so `tfds.builder_from_directory(...).as_data_source(...)` gives arrays, wherever
this package is installed; with `decoders={"video": tfds.decode.SkipDecoding()}`
a field stays as it is stored, and `tfds.decode.PartialDecoding` leaves fields
out, which costs nothing for them.
"""

import dataclasses
import pathlib
import tempfile
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.core.features import feature

from more4d_jax.data import records, schema
from more4d_jax.data.codec import (
  array_codec,
  compound_fields,
  depth_codec,
  track_codec,
)

FILE = "features.json"
_TEXTS = ("header", "id", "caption", "source", "licence")
_COMPOUND = ("views", "renderings")  # Lists of films; `records.decode` reads.


@dataclasses.dataclass(frozen=True)
class _Array:
  """An array of a field: its shape (None where it varies) and type."""

  shape: tuple[int | None, ...]
  dtype: str

  @classmethod
  def of(cls, field: schema.Field) -> "_Array":
    sizes = [int(a) if a.isdigit() else None for a in field.axes.split()]
    return cls(tuple(sizes), field.dtype)

  def empty(self) -> np.ndarray:
    """The value of a field that a record does not have."""
    return np.zeros([size or 0 for size in self.shape], self.dtype)

  def info(self) -> feature.TensorInfo:
    return feature.TensorInfo(self.shape, np.dtype(self.dtype))


_DECODERS: Mapping[str, Callable[[bytes], np.ndarray]] = {
  "video": array_codec.decode_video,
  "tracks": track_codec.decode,
  "depth": depth_codec.decode,
}
_POINTS = {
  name: _Array.of(field) for name, field in schema.POINT_FIELDS.items()
}


class RecordField(feature.FeatureConnector):
  """A field of a record: bytes on disk, an array (or arrays) when read.

  `points` is a dict of arrays. Fields that a record does not have (`tracks` of
  a sparse one, `points` of a dense one) are arrays without elements.
  """

  def __init__(self, name: str, doc: Any = None):
    """Describes a field.

    Args:
      name: out of `records.FIELDS`.
      doc: as tensorflow-datasets has it.
    """
    super().__init__(doc=doc)
    self._name = name

  def get_tensor_info(self) -> Any:
    """Shapes and types of what is read."""
    if self._name == "points":
      return {name: array.info() for name, array in _POINTS.items()}
    return _Array.of(schema.FIELDS[self._name]).info()

  def get_serialized_info(self) -> feature.TensorInfo:
    """A byte string."""
    return feature.TensorInfo((), np.object_)

  def encode_example(self, example_data: bytes) -> bytes:
    """The field's bytes, as `records.encode` made them."""
    return example_data

  def decode_example_np(self, example_data: bytes) -> Any:
    """The array of a byte string.

    Raises:
      codec.DamagedError: the bytes are cut or altered.
    """
    if self._name == "points":
      return self._points(example_data)
    if not example_data:
      return _Array.of(schema.FIELDS[self._name]).empty()
    decode = _DECODERS.get(self._name, array_codec.decode_array)
    return decode(example_data)

  def decode_example(self, tfexample_data: Any) -> Any:
    """As `decode_example_np`, in a graph of tensorflow's."""
    import tensorflow as tf

    info = self.get_tensor_info()
    names = list(_POINTS) if self._name == "points" else [self._name]
    infos = [info[name] for name in names] if len(names) > 1 else [info]

    def arrays(blob: bytes) -> list[np.ndarray]:
      value = self.decode_example_np(blob)
      return [value[name] for name in names] if len(names) > 1 else [value]

    types = [tf.as_dtype(i.np_dtype) for i in infos]
    found = tf.numpy_function(arrays, [tfexample_data], types)
    for tensor, wanted in zip(found, infos):
      tensor.set_shape(wanted.shape)
    return dict(zip(names, found)) if len(names) > 1 else found[0]

  @staticmethod
  def _points(blob: bytes) -> dict[str, np.ndarray]:
    if not blob:
      return {name: array.empty() for name, array in _POINTS.items()}
    points = compound_fields.decode_points(blob)
    return {name: getattr(points, name) for name in _POINTS}

  def to_json_content(self) -> dict[str, str]:
    """The arguments it is made with."""
    return {"name": self._name}

  @classmethod
  def from_json_content(
    cls, value: Mapping[str, str], doc: Any = None
  ) -> "RecordField":
    """The inverse of `to_json_content`."""
    return cls(value["name"], doc=doc)


def description() -> tfds.features.FeaturesDict:
  """The features of a data set: one per name in `records.ENCODED`."""
  return tfds.features.FeaturesDict(
    {name: _feature(name) for name in records.ENCODED}
  )


def _feature(name: str) -> feature.FeatureConnector:
  if name in _TEXTS:
    return tfds.features.Text()
  return _bytes() if name in _COMPOUND else RecordField(name)


def _bytes() -> feature.FeatureConnector:
  return tfds.features.Tensor(shape=(), dtype=np.object_)


def text() -> str:
  """What `FILE` says in data sets of this version."""
  return _saved(description())


def earlier_text() -> str:
  """What it said when every field was read as bytes; still readable."""
  return _saved(
    tfds.features.FeaturesDict(
      {
        name: tfds.features.Text() if name in _TEXTS else _bytes()
        for name in records.ENCODED
      }
    )
  )


def _saved(features: tfds.features.FeaturesDict) -> str:
  with tempfile.TemporaryDirectory() as directory:
    features.save_config(directory)
    return pathlib.Path(directory, FILE).read_text()
