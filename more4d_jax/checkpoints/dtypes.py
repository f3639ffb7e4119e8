"""The type in which weights are stored and products are computed.

Transformers and their encoders compute in bfloat16 or float32. In int8 are the
kernels that `models.quantised` names; all else is as in bfloat16. Autoencoders
and depth networks compute in float32 always, whatever their weights are stored
in: what they lose would be seen in every frame.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import ml_dtypes
import numpy as np

from more4d_jax import errors
from more4d_jax.checkpoints import store
from more4d_jax.models import backbone
from more4d_jax.models.encoders import image, motion, text

STORED: Mapping[str, np.dtype] = {
  "float32": np.dtype(np.float32),
  "bfloat16": np.dtype(ml_dtypes.bfloat16),
  "float16": np.dtype(np.float16),
}
COMPUTED = ("bfloat16", "float32")
INT8 = "int8"
_CONFIGS = (
  backbone.DiTConfig,
  text.TextEncoderConfig,
  image.ImageEncoderConfig,
  motion.MotionEncoderConfig,
)


def check(dtype: str | None) -> None:
  """Checks a flag.

  Raises:
    UserError: if networks cannot compute in this type.
  """
  if dtype not in (None, *COMPUTED):
    raise errors.UserError(
      f"expected --dtype {' or '.join(COMPUTED)}, found {dtype!r}"
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

  Args:
    networks: by kind; those that share an array share its new one.
    dtype: one of `COMPUTED`.
  """
  made: dict[int, tuple[Any, np.ndarray]] = {}

  def one(leaf: np.ndarray) -> np.ndarray:
    if id(leaf) not in made:  # The old one is kept, so that its id stays its.
      made[id(leaf)] = leaf, leaf.astype(dtype, copy=False)
    return made[id(leaf)][1]

  result = dict(networks)
  for kind, network in networks.items():
    config = computing_in(network.config, dtype)
    if any(isinstance(v, _CONFIGS) for v in vars(network.config).values()):
      params = jax.tree.map(one, network.params)
      result[kind] = dataclasses.replace(network, config=config, params=params)
  return result
