"""The type in which weights are stored and products are computed.

Transformers and their encoders compute in bfloat16 or float32. In int8 are the
kernels that `models.quantised` names; all else is as in bfloat16. Autoencoders
and depth networks compute in float32 always, whatever their weights are stored
in: what they lose would be seen in every frame.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal, get_args

import ml_dtypes
import numpy as np

from more4d_jax import errors
from more4d_jax.checkpoints import quantised_arrays, store, stored_arrays
from more4d_jax.models import backbone, quantised
from more4d_jax.models.encoders import image, motion, text
from more4d_jax.name_maps import matching

STORED: Mapping[str, np.dtype] = {
  "float32": np.dtype(np.float32),
  "bfloat16": np.dtype(ml_dtypes.bfloat16),
  "float16": np.dtype(np.float16),
}
INT8 = "int8"
# What a checkpoint's transformers and encoders may be brought to.
Held = Literal["bfloat16", "float32", "int8"]
_CONFIGS = (
  backbone.DiTConfig,
  text.TextEncoderConfig,
  image.ImageEncoderConfig,
  motion.MotionEncoderConfig,
)


def check(dtype: str | None) -> None:
  """Checks a flag.

  Raises:
    UserError: if networks cannot be held and compute in this type.
  """
  known = get_args(Held)
  if dtype not in (None, *known):
    raise errors.UserError(
      f"expected --dtype {', '.join(known)}, found {dtype!r}"
    )


def products(dtype: str) -> str:
  """The type of products, and of what int8 is not for."""
  return "bfloat16" if dtype == INT8 else dtype


def may_be_int8(config: Any) -> bool:
  """Whether a part of a network has kernels that int8 is for."""
  return isinstance(config, _CONFIGS)


def computing_in(config: Any, dtype: str) -> Any:
  """A configuration whose transformer and encoders compute in a type."""
  if isinstance(config, _CONFIGS):
    return dataclasses.replace(config, dtype=dtype)
  inner = {
    field.name: computing_in(getattr(config, field.name), dtype)
    for field in dataclasses.fields(config)
    if dataclasses.is_dataclass(getattr(config, field.name))
  }
  return dataclasses.replace(config, **inner) if inner else config


def cast(
  networks: Mapping[str, store.Network], dtype: str
) -> dict[str, store.Network]:
  """Networks stored and computing in a type; autoencoders stay as they are.

  Weights are brought to the type as they are read.

  Args:
    networks: by kind; those that share an array share its new one.
    dtype: one of `Held`.

  Raises:
    UserError: if a network is in int8 and is to be in another type.
  """
  # By identity; the old array is kept, so that its identity stays its own.
  made: dict[tuple[int, str], tuple[Any, dict[str, Any]]] = {}
  result = dict(networks)
  for kind, network in networks.items():
    if not any(may_be_int8(value) for value in vars(network.config).values()):
      continue
    flat: dict[str, Any] = {}
    for path, leaf in matching.flatten(network.params).items():
      key = id(leaf), path
      if key not in made:
        made[key] = leaf, _cast_one(path, leaf, dtype, kind)
      flat |= made[key][1]
    result[kind] = dataclasses.replace(
      network,
      config=computing_in(network.config, products(dtype)),
      params=matching.unflatten(flat),
    )
  return result


def _cast_one(path: str, leaf: Any, dtype: str, kind: str) -> dict[str, Any]:
  """What becomes of a parameter, by path."""
  if leaf.dtype == quantised.DTYPE and dtype != INT8:
    raise errors.UserError(
      f"the {kind} holds int8 weights, which --dtype {dtype} would not make "
      "more exact: leave it out, or convert what was published again with "
      f"--dtype {dtype}"
    )
  if leaf.dtype == quantised.DTYPE or quantised.is_scale(path):
    return {path: leaf}
  if dtype == INT8 and quantised.is_meant(path):
    return quantised_arrays.where_read(path, leaf)
  return {path: stored_arrays.cast(leaf, STORED[products(dtype)])}
