"""LPIPS: how different two pictures look, by the features of a network.

Features of five layers are scaled to length one at each pixel; their squared
differences, weighted by published linear layers, are added up and averaged
over the picture (Zhang et al. 2018, arXiv 1801.03924, version 0.1).
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from more4d_jax import errors


@dataclasses.dataclass(frozen=True)
class Layer:
  """What leads from one compared layer to the next.

  Attributes:
    convolutions: numbers in torchvision's `features`; a ReLU follows each.
    pool: side of the window of the pooling before them, of stride 2; 0 for
      none.
  """

  convolutions: tuple[int, ...]
  pool: int


@dataclasses.dataclass(frozen=True)
class Network:
  """A network whose features are compared.

  Attributes:
    name: as the published weights have it.
    layers: in their order.
    stride: of the first convolution; that of the others is 1.
    padding: of the first convolution; that of the others keeps the size.
  """

  name: str
  layers: Sequence[Layer]
  stride: int
  padding: int


_ALEX = Network(
  "alex",
  (
    Layer((0,), 0),
    Layer((3,), 3),
    Layer((6,), 3),
    Layer((8,), 0),
    Layer((10,), 0),
  ),
  stride=4,
  padding=2,
)
_VGG = Network(
  "vgg",
  (
    Layer((0, 2), 0),
    Layer((5, 7), 2),
    Layer((10, 12, 14), 2),
    Layer((17, 19, 21), 2),
    Layer((24, 26, 28), 2),
  ),
  stride=1,
  padding=1,
)
# The first convolution's shape in PyTorch's order tells them apart.
_NETWORKS = {(64, 3, 11, 11): _ALEX, (64, 3, 3, 3): _VGG}
LEAST_SIDE = 31
"""Pixels; of less the deeper layers of a network hold nothing."""
_SHIFT = np.array([-0.030, -0.088, -0.188], np.float32)
_SCALE = np.array([0.458, 0.448, 0.450], np.float32)
_NAME = re.compile(
  r"(?:features|net\.slice\d)\.(\d+)\.(weight|bias)"
  r"|lins?\.?(\d)\.model\.1\.weight"
)
_EXPECTED = (
  "expected the weights of LPIPS: torchvision's AlexNet or VGG16 (features.0."
  "weight, ...) and the linear layers of version 0.1 (lin0.model.1.weight, "
  "...), or both in one file as lpips.LPIPS(...).state_dict() has them"
)


def is_wanted(name: str) -> bool:
  """Whether a tensor of a file of weights belongs to LPIPS."""
  return _NAME.fullmatch(name) is not None


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Lpips:
  """The weights of one network.

  Attributes:
    network: whose weights they are.
    kernels: of each convolution, [h w in out].
    biases: of each convolution.
    weights: of the features of each compared layer.
  """

  network: Network = dataclasses.field(metadata={"static": True})
  kernels: Mapping[int, Float[Array, "h w I O"]]
  biases: Mapping[int, Float[Array, "O"]]
  weights: tuple[Float[Array, "_"], ...]

  @classmethod
  def from_tensors(cls, tensors: Mapping[str, np.ndarray]) -> "Lpips":
    """Takes published tensors, in PyTorch's order, by their published names.

    Raises:
      UserError: if some are missing, or do not fit each other.
    """
    kernels, biases, weights = _sorted(tensors)
    shape = kernels[0].shape if 0 in kernels else None
    if shape not in _NETWORKS:
      raise errors.UserError(f"{_EXPECTED}; the first convolution is {shape}")
    network = _NETWORKS[shape]
    layers = network.layers
    convolutions = [i for layer in layers for i in layer.convolutions]
    missing = [
      *(f"features.{i}" for i in convolutions if i not in kernels),
      *(f"features.{i}.bias" for i in convolutions if i not in biases),
      *(f"lin{i}" for i in range(len(layers)) if i not in weights),
    ]
    if missing:
      raise errors.UserError(f"{_EXPECTED}; {', '.join(missing)} are missing")
    for number, layer in enumerate(layers):
      channels = len(kernels[layer.convolutions[-1]])
      if weights[number].size != channels:
        raise errors.UserError(
          f"{_EXPECTED}; lin{number} has {weights[number].size} weights for "
          f"{channels} features of {network.name}"
        )
    return cls(
      network,
      {i: jnp.asarray(kernels[i].transpose(2, 3, 1, 0)) for i in convolutions},
      {i: jnp.asarray(biases[i]) for i in convolutions},
      tuple(jnp.asarray(weights[i].reshape(-1)) for i in range(len(layers))),
    )

  def distance(
    self,
    one: UInt8[np.ndarray, "T H W 3"],
    other: UInt8[np.ndarray, "T H W 3"],
  ) -> float:
    """Mean over frames; 0 for equal films.

    Raises:
      UserError: if frames are too small for the network.
    """
    if min(one.shape[1:3]) < LEAST_SIDE:
      raise errors.UserError(
        f"expected frames of at least {LEAST_SIDE} pixels for LPIPS, found "
        f"{one.shape[1]} x {one.shape[2]}: leave --lpips out"
      )
    return float(
      np.mean(_distances(self, jnp.asarray(one), jnp.asarray(other)))
    )


def _sorted(
  tensors: Mapping[str, np.ndarray],
) -> tuple[dict[int, np.ndarray], dict[int, np.ndarray], dict[int, np.ndarray]]:
  """Kernels and biases by convolution, linear weights by layer; float32."""
  kernels, biases, weights = {}, {}, {}
  for name, tensor in tensors.items():
    found = _NAME.fullmatch(name)
    if found is None:
      continue
    values = np.asarray(tensor, np.float32)
    convolution, kind, layer = found.groups()
    if layer is not None:
      weights[int(layer)] = values
    elif kind == "weight":
      kernels[int(convolution)] = values
    else:
      biases[int(convolution)] = values
  return kernels, biases, weights


@jax.jit
def _distances(
  lpips: Lpips, one: UInt8[Array, "T H W 3"], other: UInt8[Array, "T H W 3"]
) -> Float[Array, "T"]:
  """One distance for each frame, which are looked at one after the other."""
  return jax.lax.map(lambda pair: _distance(lpips, *pair), (one, other))


def _distance(
  lpips: Lpips, one: UInt8[Array, "H W 3"], other: UInt8[Array, "H W 3"]
) -> Float[Array, ""]:
  pair = jnp.stack([one, other]).astype(jnp.float32) / 127.5 - 1
  total = jnp.zeros(())
  for features, weights in zip(_features(lpips, pair), lpips.weights):
    length = jnp.linalg.norm(features, axis=-1, keepdims=True)
    first, second = features / (length + 1e-10)
    total += jnp.mean(jnp.sum((first - second) ** 2 * weights, axis=-1))
  return total


def _features(lpips: Lpips, x: Float[Array, "B H W 3"]):
  """Features of each compared layer, [B h w C]."""
  x = (x - _SHIFT) / _SCALE
  network = lpips.network
  for layer in network.layers:
    if layer.pool:
      x = jax.lax.reduce_window(
        x, -jnp.inf, jax.lax.max, (1, layer.pool, layer.pool, 1), (1, 2, 2, 1),
        "VALID",
      )  # fmt: skip
    for number in layer.convolutions:
      kernel = lpips.kernels[number]
      stride, padding = 1, kernel.shape[0] // 2
      if number == 0:
        stride, padding = network.stride, network.padding
      x = jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), ((padding, padding),) * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision=jax.lax.Precision.HIGHEST,
      )  # fmt: skip
      x = jax.nn.relu(x + lpips.biases[number])
    yield x
