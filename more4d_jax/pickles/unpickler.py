"""A reader of pickles that costs no more than the file's honest size.

A pickle is a program: names of functions to call, and references to what it
has made before. Here only a short list of names is understood, with functions
of our own behind them; every step is counted, nothing is copied more often
than the file's size pays for, and what comes out is no deeper and, with shared
parts counted wherever they stand, no larger than real files need. Python's own
reader in C can be made to take gigabytes by ten bytes (a memo index), hence
the one in Python is the base.
"""

import collections
import io
import math
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from more4d_jax import errors
from more4d_jax.pickles import stored_tensors

_MOST_STEPS = 1 << 20  # Of the pickle's program, and elements of its value.
_MOST_LEVELS = 100
_SLACK_BYTES = 1 << 16
_MOST_AXES = 64
_KEYS = (str, bytes, float, bool, type(None))
_CONTAINERS = (dict, collections.OrderedDict, list, tuple)
# Opcodes that files of numbers do not need: classes, extensions, sets, and
# buffers that lie outside the file.
_LEFT_OUT = (
  pickle.NEWOBJ,
  pickle.NEWOBJ_EX,
  pickle.INST,
  pickle.OBJ,
  pickle.EXT1,
  pickle.EXT2,
  pickle.EXT4,
  pickle.EMPTY_SET,
  pickle.ADDITEMS,
  pickle.FROZENSET,
  pickle.NEXT_BUFFER,
  pickle.READONLY_BUFFER,
)


class _ArrayType:
  """Stands for numpy.ndarray, which is only ever an argument."""


class _Bounded:
  """A file that refuses to read more than is there."""

  def __init__(self, file: io.BufferedIOBase, size: int):
    self._file, self._size = file, size
    self.readline = file.readline

  def read(self, count: int) -> bytes:
    if count > self._size - self._file.tell():
      raise EOFError("it ends early")
    return self._file.read(count)


class Unpickler(pickle._Unpickler):
  """Rebuilds containers, numbers, text, arrays and tensors."""

  def __init__(
    self,
    file: io.BufferedIOBase,
    size: int,
    storage: Callable[[Sequence[Any]], stored_tensors.Storage],
    nested: Callable[[bytes], Any],
  ):
    """Reads nothing yet.

    Args:
      file: read from where it stands.
      size: of the whole file in bytes.
      storage: reference to a storage, as PyTorch writes it -> the storage.
      nested: reads a file of PyTorch's that stands inside the pickle.
    """
    super().__init__(_Bounded(file, size))
    self._storage, self._inner = storage, nested
    self._steps = 0
    self._bytes_left = 2 * size + _SLACK_BYTES
    names: dict[tuple[str, str], Any] = {
      ("collections", "OrderedDict"): self._ordered,
      ("torch", "Size"): _axes,
      ("torch._utils", "_rebuild_tensor_v2"): _tensor,
      ("torch._utils", "_rebuild_parameter"): _parameter,
      ("torch.storage", "_load_from_bytes"): self._nested,
      ("numpy", "ndarray"): _ArrayType,
      ("numpy", "dtype"): _dtype,
      ("_codecs", "encode"): self._encode,
    }
    for kind in stored_tensors.DTYPES:
      names["torch", f"{kind}Storage"] = kind
    for core in ("numpy.core", "numpy._core"):
      names[f"{core}.multiarray", "_reconstruct"] = _array
      names[f"{core}.multiarray", "scalar"] = _scalar
      names[f"{core}.numeric", "_frombuffer"] = _from_buffer
    self._names = names

  def load(self) -> Any:
    """Returns the next value of the file.

    Raises:
      UserError: it names what is not understood.
      pickle.UnpicklingError and other errors of damaged files.
    """
    value = super().load()
    _check_extent(value)
    return value

  def find_class(self, module: str, name: str) -> Any:
    """Returns what a name stands for; refuses all names but a few."""
    try:
      return self._names[module, name]
    except KeyError:
      asked = " ".join(f"{module}.{name}".split())[:100]
      raise errors.UserError(
        f"it asks for {asked}, which weights and trajectories do not "
        "need and which could run any program: get the file from its authors"
      ) from None

  def persistent_load(self, pid: Any) -> stored_tensors.Storage:
    """Returns the storage that PyTorch's formats keep beside the pickle."""
    if (
      type(pid) is not tuple
      or len(pid) not in (5, 6)
      or not all(type(part) is str for part in pid[:4])
      or pid[0] != "storage"
    ):
      raise pickle.UnpicklingError("an unknown reference")
    if pid[1] not in stored_tensors.DTYPES:
      raise pickle.UnpicklingError("a tensor of an unknown type")
    return self._storage(pid)

  def _count(self, steps: int) -> None:
    self._steps += steps
    if self._steps > _MOST_STEPS:
      raise errors.UserError(
        f"it has more than the {_MOST_STEPS} elements that a file of arrays "
        f"may have"
      )

  def _pay(self, count: int) -> None:
    """Counts bytes that are copied; the file's size pays for them."""
    self._bytes_left -= count
    if self._bytes_left < 0:
      raise errors.UserError("it copies more than the file's size")

  def _ordered(self, *pairs: Any) -> collections.OrderedDict:
    made = collections.OrderedDict()
    for key, value in pairs[0] if pairs else ():
      self._count(1)
      made[_key(key)] = value
    return made

  def _nested(self, data: bytes) -> Any:
    self._pay(len(data))
    return self._inner(data)

  def _encode(self, text: str, encoding: str) -> bytes:
    if encoding != "latin1":
      raise pickle.UnpicklingError("bytes that are not encoded as latin1")
    self._pay(len(text))
    return text.encode("latin1")

  def _append(self) -> None:
    value = self.stack.pop()
    _of_type(self.stack[-1], list).append(value)

  def _appends(self) -> None:
    values = self.pop_mark()
    _of_type(self.stack[-1], list).extend(values)

  def _set_item(self) -> None:
    value, key = self.stack.pop(), self.stack.pop()
    _of_type(self.stack[-1], dict)[_key(key)] = value

  def _set_items(self) -> None:
    values = self.pop_mark()
    target = _of_type(self.stack[-1], dict)
    for key, value in zip(values[::2], values[1::2], strict=True):
      target[_key(key)] = value

  def _dict(self) -> None:
    values = self.pop_mark()
    pairs = zip(values[::2], values[1::2], strict=True)
    self.append({_key(key): value for key, value in pairs})

  def _build(self) -> None:
    """Gives an array or a dtype its state; that of dicts is left out."""
    state = self.stack.pop()
    target = self.stack[-1]
    if type(target) is np.ndarray:
      _, shape, dtype, _, data = state
      if not isinstance(dtype, np.dtype) or type(data) not in (
        bytes,
        bytearray,
      ):
        raise pickle.UnpicklingError("an array of something but numbers")
      if math.prod(_axes(shape)) * dtype.itemsize != len(data):
        raise pickle.UnpicklingError("an array of another size than its bytes")
      self._pay(len(data))
      target.__setstate__(state)
    elif isinstance(target, np.dtype):
      order = state[1]
      if order not in tuple("<>=|"):
        raise pickle.UnpicklingError("an impossible byte order")
      target.__setstate__((3, order, None, None, None, -1, -1, 0))
    elif type(target) is not collections.OrderedDict:
      raise pickle.UnpicklingError("the state of something but an array")

  dispatch: Mapping[int, Callable[["Unpickler"], None]]


def _counted(
  step: Callable[[Unpickler], None],
) -> Callable[[Unpickler], None]:
  def counted(reader: Unpickler) -> None:
    reader._count(1)
    step(reader)

  return counted


def _dispatch() -> dict[int, Callable[[Unpickler], None]]:
  """Opcode -> what it does: Python's own steps, some of them ours, counted."""
  steps = dict(pickle._Unpickler.dispatch)
  for code in _LEFT_OUT:
    del steps[code[0]]
  steps |= {
    pickle.APPEND[0]: Unpickler._append,
    pickle.APPENDS[0]: Unpickler._appends,
    pickle.SETITEM[0]: Unpickler._set_item,
    pickle.SETITEMS[0]: Unpickler._set_items,
    pickle.DICT[0]: Unpickler._dict,
    pickle.BUILD[0]: Unpickler._build,
  }
  return {code: _counted(step) for code, step in steps.items()}


Unpickler.dispatch = _dispatch()


def _of_type(value: Any, kind: type) -> Any:
  if not isinstance(value, kind):
    raise pickle.UnpicklingError("elements of something that has none")
  return value


def _key(value: Any) -> Any:
  """Returns a dict's key if hashing it takes little time."""
  parts = value if type(value) is tuple and len(value) < 8 else (value,)
  for part in parts:
    small = type(part) is int and part.bit_length() <= 64
    if not small and not isinstance(part, _KEYS):
      raise pickle.UnpicklingError("a key that is neither text nor a number")
  return value


def _axes(shape: Any = ()) -> tuple[Any, ...]:
  if not isinstance(shape, list | tuple) or len(shape) > _MOST_AXES:
    raise pickle.UnpicklingError("an impossible shape")
  if not all(isinstance(n, int) and 0 <= n < 1 << 62 for n in shape):
    raise pickle.UnpicklingError("impossible sizes")
  return tuple(shape)


def _tensor(
  storage, start, shape, strides, *_: Any
) -> stored_tensors.StoredTensor:
  if not isinstance(storage, stored_tensors.Storage):
    raise pickle.UnpicklingError("a tensor without a storage")
  tensor = stored_tensors.StoredTensor(
    _axes(shape), storage.dtype, storage, start, _axes(strides)
  )
  return tensor.check()


def _parameter(tensor: Any, *_: Any) -> Any:
  return tensor


def _dtype(spec: Any, *_: Any) -> np.dtype:
  if type(spec) is not str or len(spec) > 8:
    raise pickle.UnpicklingError("an array of an unknown type")
  dtype = np.dtype(spec)
  if dtype.kind not in "biufc":
    raise pickle.UnpicklingError(f"an array of {spec}, which are no numbers")
  return np.dtype(spec, copy=True)  # Its byte order is set afterwards.


def _array(kind: Any, *_: Any) -> np.ndarray:
  if kind is not _ArrayType:
    raise pickle.UnpicklingError("an array of an unknown class")
  return np.ndarray((0,), np.int8)  # Shape, type and values are set then.


def _scalar(dtype: np.dtype, data: bytes) -> Any:
  return np.frombuffer(data, _of_type(dtype, np.dtype), 1)[0]


def _from_buffer(data, dtype, shape, order) -> np.ndarray:
  flat = np.frombuffer(data, _of_type(dtype, np.dtype))
  return flat.reshape(_axes(shape), order=order)


def _check_extent(value: Any) -> None:
  """Refuses values that are endless, too deep or too large.

  A part that stands in several places counts in each: what goes through the
  value element by element takes as long.
  """
  known: dict[int, tuple[int, int]] = {}  # id -> elements and levels.
  above: set[int] = set()
  waiting = [(value, False)]
  while waiting:
    item, finished = waiting.pop()
    name = id(item)
    if finished:
      above.remove(name)
      parts = [known.get(id(part), (1, 1)) for part in _parts(item)]
      elements = 1 + sum(count for count, _ in parts)
      levels = 1 + max((deep for _, deep in parts), default=0)
      if elements > _MOST_STEPS:
        raise errors.UserError(
          f"it refers to its own parts so often that it has more than "
          f"{_MOST_STEPS} elements"
        )
      if levels > _MOST_LEVELS:
        raise errors.UserError(
          f"it is nested more than {_MOST_LEVELS} levels deep"
        )
      known[name] = (elements, levels)
    elif name in above:
      raise errors.UserError("it contains itself")
    elif type(item) in _CONTAINERS and name not in known:
      above.add(name)
      waiting.append((item, True))
      waiting += [(part, False) for part in _parts(item)]


def _parts(item: Any) -> Iterator[Any]:
  return iter(item.values() if isinstance(item, dict) else item)
