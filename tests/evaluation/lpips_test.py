"""LPIPS against its formula in PyTorch, and which files of weights it takes."""

import numpy as np
import pytest

from more4d_jax import errors
from more4d_jax.evaluation import lpips

# Layers of torchvision's `features` up to the last one that is compared:
# channels of a convolution, "R" for ReLU, the window of a pooling.
_FEATURES = {
  "alex": (64, "R", 3, 192, "R", 3, 384, "R", 256, "R", 256, "R"),
  "vgg": (
    64, "R", 64, "R", 2, 128, "R", 128, "R", 2, 256, "R", 256, "R", 256, "R",
    2, 512, "R", 512, "R", 512, "R", 2, 512, "R", 512, "R", 512, "R",
  ),
}  # fmt: skip
_TAPS = {"alex": (1, 4, 7, 9, 11), "vgg": (3, 8, 15, 22, 29)}
_SIDES = {"alex": (11, 5, 3, 3, 3), "vgg": (3,) * 13}


def random_tensors(name, seed=0):
  """Tensors with the published names and shapes."""
  rng = np.random.default_rng(seed)
  found, channels, sides = {}, 3, iter(_SIDES[name])
  lin = 0
  for number, layer in enumerate(_FEATURES[name]):
    if layer not in ("R", 2, 3):
      shape = (layer, channels, *(next(sides),) * 2)
      deviation = (2 / np.prod(shape[1:])) ** 0.5
      kernel = deviation * rng.standard_normal(shape, np.float32)
      found[f"features.{number}.weight"] = kernel.astype(np.float32)
      found[f"features.{number}.bias"] = rng.normal(size=layer, scale=0.1)
      channels = layer
    if number in _TAPS[name]:
      weights = rng.uniform(size=(1, channels, 1, 1))
      found[f"lin{lin}.model.1.weight"] = weights
      lin += 1
  return found


def _film(seed, size=(1, 32, 40)):
  rng = np.random.default_rng(seed)
  return rng.integers(0, 256, (*size, 3), np.uint8)


@pytest.mark.torch
@pytest.mark.parametrize("name", ["alex", "vgg"])
def test_distances_are_those_of_pytorch(name):
  torch = pytest.importorskip("torch")
  tensors = random_tensors(name)
  one, other = _film(1), _film(2)
  wanted = []
  for frames in zip(one, other):
    pair = torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2) / 127.5 - 1
    shift = torch.tensor([-0.030, -0.088, -0.188])[None, :, None, None]
    scale = torch.tensor([0.458, 0.448, 0.450])[None, :, None, None]
    x, total, lin = (pair - shift) / scale, 0.0, 0
    for number, layer in enumerate(_FEATURES[name]):
      if layer == "R":
        x = torch.relu(x)
      elif layer in (2, 3):
        x = torch.nn.functional.max_pool2d(x, layer, 2)
      else:
        kernel, bias = (
          torch.from_numpy(tensors[f"features.{number}.{kind}"]).float()
          for kind in ("weight", "bias")
        )
        first = name == "alex" and number == 0
        x = torch.nn.functional.conv2d(
          x, kernel, bias, 4 if first else 1,
          2 if first else kernel.shape[-1] // 2,
        )  # fmt: skip
      if number in _TAPS[name]:
        unit = x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10)
        weights = torch.from_numpy(tensors[f"lin{lin}.model.1.weight"]).float()
        square = (unit[:1] - unit[1:]).square()
        total += torch.nn.functional.conv2d(square, weights).mean().item()
        lin += 1
    wanted.append(total)
  found = lpips.Lpips.from_tensors(tensors)
  assert found.network.name == name
  # Float32 sums in another order.
  assert found.distance(one, other) == pytest.approx(np.mean(wanted), rel=1e-4)
  assert found.distance(one, one) == 0


def test_names_of_a_whole_file_are_known_and_others_passed_over():
  tensors = random_tensors("alex")
  whole = {"scaling_layer.shift": np.zeros(3), "classifier.1.weight": None}
  for name, tensor in tensors.items():
    if name.startswith("features."):
      whole[name.replace("features.", "net.slice1.")] = tensor
    else:
      whole[name] = tensor
      whole[name.replace("lin", "lins.")] = tensor
  assert not lpips.is_wanted("classifier.1.weight")
  one, other = _film(1), _film(2)
  distances = [
    lpips.Lpips.from_tensors(found).distance(one, other)
    for found in (tensors, whole)
  ]
  assert distances[0] == distances[1] > 0


@pytest.mark.parametrize(
  ("change", "words"),
  [
    ({"features.0.weight": np.zeros((8, 3, 3, 3))}, r"is \(8, 3, 3, 3\)"),
    ({"features.0.weight": np.zeros((64, 3, 3, 3))}, "features.2, "),
    ({"lin2.model.1.weight": np.zeros((1, 7, 1, 1))}, "lin2 has 7 weights"),
  ],
)
def test_weights_that_do_not_fit_are_named(change, words):
  with pytest.raises(errors.UserError, match=words):
    lpips.Lpips.from_tensors(random_tensors("alex") | change)


def test_missing_weights_are_named():
  tensors = random_tensors("alex")
  del tensors["lin4.model.1.weight"], tensors["features.10.bias"]
  with pytest.raises(errors.UserError, match=r"features\.10\.bias, lin4 are"):
    lpips.Lpips.from_tensors(tensors)
  with pytest.raises(errors.UserError, match="convolution is None"):
    lpips.Lpips.from_tensors({})


def test_small_frames_are_refused():
  found = lpips.Lpips.from_tensors(random_tensors("alex"))
  film = _film(0, (1, 30, 64))
  with pytest.raises(errors.UserError, match="30 x 64"):
    found.distance(film, film)
