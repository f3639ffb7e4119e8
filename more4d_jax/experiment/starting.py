"""A run that starts from a network: which of its parameters are taken.

Most are taken whole. A transformer with fewer or more input channels shares the
first ones; a network without the Motion Perception Module may get a new one.
What is not taken whole is told, tensor by tensor.
"""

import dataclasses
import logging
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from more4d_jax import errors
from more4d_jax.checkpoints import stored_arrays
from more4d_jax.experiment import config_reader, model_config

_LOG = logging.getLogger(__name__)
_SHOWN = 4  # Fields in a message.


def differences(found: Any, wanted: Any) -> dict[str, tuple[Any, Any]]:
  """Field -> its values in two configurations, where they differ.

  What suits one machine, memory and the type of products are not looked at:
  they are no part of the parameters.
  """
  one, other = (
    config_reader.flat(
      model_config.replace_fields(
        model_config.portable(config), remat="none", dtype="float32"
      )
    )
    for config in (found, wanted)
  )
  return {
    name: (one.get(name), other.get(name))
    for name in sorted({*one, *other})
    if one.get(name) != other.get(name)
  }


def check(
  kind: str, found: Any, wanted: Any, may_differ: Sequence[str]
) -> None:
  """Makes sure that a network can be gone on from.

  Args:
    kind: of both networks.
    found: the configuration of the one there is.
    wanted: of the one to train.
    may_differ: patterns of fields.

  Raises:
    UserError: if another field differs; names it.
  """
  refused = {
    name: pair
    for name, pair in differences(found, wanted).items()
    if not any(re.fullmatch(pattern, name) for pattern in may_differ)
  }
  if refused:
    shown = "; ".join(
      f"{name} is {there} there and {here} here"
      for name, (there, here) in list(refused.items())[:_SHOWN]
    )
    more = len(refused) - _SHOWN
    raise errors.UserError(
      f"the {kind} in init_from.{kind} was built differently from this config "
      f"({shown}{f'; {more} more' if more > 0 else ''}): set the same model "
      "fields, or start from another one"
    )


@dataclasses.dataclass(frozen=True)
class Taken:
  """What a network to train takes of another.

  Attributes:
    arrays: path -> array of the shape it has in the network to train.
    partly: path -> the slice that is taken; the rest is zero.
    new: paths that are initialised.
    left: paths of the other network that have no counterpart.
  """

  arrays: Mapping[str, Any]
  partly: Mapping[str, str]
  new: Sequence[str]
  left: Sequence[str]

  def tell(self, source: str, changed: Mapping[str, tuple[Any, Any]]) -> None:
    """Logs it, a line for each tensor that is not taken whole.

    Args:
      source: where the network was found.
      changed: by `differences`.
    """
    whole = [path for path in self.arrays if path not in self.partly]
    count = sum(math.prod(self.arrays[path].shape) for path in whole)
    _LOG.info(
      "%d tensors (%.4g million values) are taken whole from %s",
      *(len(whole), count / 1e6, source),
    )
    for path, part in self.partly.items():
      shape = tuple(self.arrays[path].shape)
      _LOG.info("%s %s: %s is taken, the rest is 0", path, shape, part)
    for path in self.new:
      _LOG.info("%s: new", path)
    for path in self.left:
      _LOG.info("%s of %s: left out", path, source)
    for name, (there, here) in changed.items():
      if name.endswith("motion_alignment"):
        _LOG.warning(
          "%s is %s in %s and %s here: motion features meet other tokens than "
          "those they were trained with",
          *(name, there, source, here),
        )


def taken(given: Mapping[str, Any], wanted: Mapping[str, Any]) -> Taken:
  """Fits the parameters of one network to another.

  Args:
    given: path -> array, in memory or on disk.
    wanted: path -> what has the shape in the network to train.

  Raises:
    UserError: if a tensor differs along more than one axis.
  """
  arrays, partly = {}, {}
  for path in given.keys() & wanted.keys():
    array, shape = given[path], tuple(wanted[path].shape)
    if tuple(array.shape) != shape:
      array, partly[path] = _fitted(path, array, shape)
    arrays[path] = array
  return Taken(
    {path: arrays[path] for path in wanted if path in arrays},
    partly,
    [path for path in wanted if path not in given],
    [path for path in given if path not in wanted],
  )


def _fitted(
  path: str, array: Any, shape: tuple[int, ...]
) -> tuple[stored_arrays.StoredArray, str]:
  """An array with zeros behind, or without what is too much, along an axis."""
  before = tuple(array.shape)
  if sum(a != b for a, b in zip(before, shape)) != 1 or len(before) != len(
    shape
  ):
    raise errors.UserError(
      f"{path} has shape {before} in the network to start from and {shape} "
      "here: start from one that differs in its input channels at most"
    )
  (axis,) = (i for i, (a, b) in enumerate(zip(before, shape)) if a != b)
  common = min(before[axis], shape[axis])

  def read(index: stored_arrays.Index) -> np.ndarray:
    part = index[axis]
    kept = slice(part.start, max(part.start, min(part.stop, common)))
    sizes = [piece.stop - piece.start for piece in index]
    result = np.zeros(sizes, array.dtype)
    inner = (*index[:axis], kept, *index[axis + 1 :])
    if kept.stop > kept.start:
      place = [slice(None)] * len(shape)
      place[axis] = slice(0, kept.stop - kept.start)
      result[tuple(place)] = np.asarray(array[inner])
    return result

  words = [":"] * len(shape)
  words[axis] = f"0:{common}"
  found = stored_arrays.StoredArray(shape, np.dtype(array.dtype), read)
  return found, f"[{', '.join(words)}]"
