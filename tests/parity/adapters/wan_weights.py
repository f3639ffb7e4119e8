"""Weights under the original's names to parameters of our networks.

Torch linear weights are [out, in], convolutions [out, in, (t,) rows, columns];
ours are [in, out] and [(t,) rows, columns, in, out]. Source: spec 10.
"""

import json
import math
import pathlib
import re

import numpy as np
from safetensors import numpy as safetensors_numpy

from more4d_jax.models import backbone
from more4d_jax.models.encoders import motion

_BLOCK_NAMES = {
  "norm3": "cross_norm",
  "ffn.0": "ffn.fc1",
  "ffn.2": "ffn.fc2",
  "spatial_guidance_self": "madanorm_attn",
  "spatial_guidance_ffn": "madanorm_ffn",
  "spatial_guide.1": "proj",
}
_OUTER_NAMES = {
  "patch_embedding": "patch_embed",
  "ref_conv": "reference_embed",
  "text_embedding.0": "text_embed.fc1",
  "text_embedding.2": "text_embed.fc2",
  "time_embedding.0": "time_embed.fc1",
  "time_embedding.2": "time_embed.fc2",
  "time_projection.1": "time_projection",
  "img_emb.proj.0": "image_embed.norm1",
  "img_emb.proj.1": "image_embed.fc1",
  "img_emb.proj.3": "image_embed.fc2",
  "img_emb.proj.4": "image_embed.norm2",
  "head.head": "head.linear",
  "feature_adapter.0": "motion_aligner.conv1",
  "feature_adapter.2": "motion_aligner.conv2",
}


def read(folder: pathlib.Path) -> tuple[dict, dict, dict]:
  """Returns config, inputs and outputs, weights (empty if there are none)."""
  config = json.loads((folder / "config.json").read_text())
  io = safetensors_numpy.load_file(folder / "io.safetensors")
  weights = folder / "weights.safetensors"
  if not weights.exists():
    return config, io, {}
  return config, io, safetensors_numpy.load_file(weights)


def channels_last(x: np.ndarray) -> np.ndarray:
  """[B C ...] to [B ... C]."""
  return np.moveaxis(x, 1, -1)


def channels_first(x) -> np.ndarray:
  """[B ... C] to [B C ...]."""
  return np.moveaxis(np.asarray(x), -1, 1)


def set_path(tree: dict, path: str, value: np.ndarray) -> None:
  """Puts a value at a dotted path, making dictionaries on the way."""
  *parents, last = path.split(".")
  for name in parents:
    tree = tree.setdefault(name, {})
  tree[last] = value


def get_path(tree: dict, path: str) -> np.ndarray:
  """The value at a dotted path."""
  for name in path.split("."):
    tree = tree[name]
  return tree


def to_ours(weight: np.ndarray) -> np.ndarray:
  """Moves the output axis of a weight last and its input axis before it."""
  if weight.ndim < 2:
    return weight
  return np.moveaxis(weight, (1, 0), (-2, -1))


def leaf_name(key: str, ndim: int) -> str:
  """The original's last name in ours: kernel, scale, bias or as it is."""
  if key == "weight":
    return "scale" if ndim == 1 else "kernel"
  return key


def dit_path(key: str, ndim: int) -> tuple[str, int | None]:
  """Our path of an original transformer key, and its block number if any."""
  block = re.match(r"blocks\.(\d+)\.(.*)", key)
  name = block.group(2) if block else key
  module, _, leaf = name.rpartition(".")
  for old, new in (_BLOCK_NAMES if block else _OUTER_NAMES).items():
    module = re.sub(rf"(^|(?<=\.)){re.escape(old)}(?=\.|$)", new, module)
  leaf = leaf_name(leaf, ndim)
  path = f"{module}.{leaf}" if module else leaf
  if block:
    return f"blocks.{path}", int(block.group(1))
  return path, None


def _dit_value(path: str, value: np.ndarray) -> np.ndarray:
  if path.endswith("modulation"):
    return value[0]
  value = to_ours(value)
  if path == "reference_embed.kernel":
    return value[None]  # Our patches have a time axis.
  return value


def dit_params(weights: dict[str, np.ndarray]) -> dict:
  """Parameters of `WanDiT`; blocks are stacked."""
  tree: dict = {}
  stacks: dict[str, dict[int, np.ndarray]] = {}
  for key, value in weights.items():
    if key.startswith("omnimae_extractor."):
      continue
    path, block = dit_path(key, value.ndim)
    ours = _dit_value(path, value)
    if block is None:
      set_path(tree, path, ours)
    else:
      stacks.setdefault(path, {})[block] = ours
  for path, layers in stacks.items():
    set_path(tree, path, np.stack([layers[i] for i in range(len(layers))]))
  return tree


def dit_gradient(grads: dict, key: str, like: np.ndarray) -> np.ndarray:
  """A gradient under an original key, in the original's layout."""
  ndim = 3 if key.endswith("modulation") else like.ndim
  path, block = dit_path(key, ndim)
  value = np.asarray(get_path(grads, path))
  if block is not None:
    value = value[block]
  if path == "reference_embed.kernel":
    value = value[0]
  if value.ndim > 1 and not path.endswith("modulation"):
    value = np.moveaxis(value, (-1, -2), (0, 1))
  return value.reshape(like.shape)


def dit_config(
  constructor: dict, weights: dict[str, np.ndarray], patches: int = 196
) -> backbone.DiTConfig:
  """Sizes from the weights where they tell, else from the constructor."""
  guide = weights.get("blocks.0.spatial_guidance_self.spatial_guide.1.weight")
  image = weights.get("img_emb.proj.0.weight")
  side = math.isqrt(patches)
  return backbone.DiTConfig(
    width=constructor["dim"],
    ffn_width=constructor["ffn_dim"],
    num_heads=constructor["num_heads"],
    num_layers=constructor["num_layers"],
    in_channels=weights["patch_embedding.weight"].shape[1],
    out_channels=constructor["out_dim"],
    patch=tuple(constructor["patch_size"]),
    text_width=constructor["text_dim"],
    text_length=constructor["text_len"],
    frequency_width=constructor["freq_dim"],
    eps=constructor.get("eps", 1e-6),
    image_width=None if image is None else image.shape[0],
    reference="ref_conv.weight" in weights,
    motion_width=None if guide is None else guide.shape[1],
    motion_grid=(side, side),
    motion_alignment="compat",
    attention="reference",
    remat=False,
  )


def text_context(io: dict, length: int) -> np.ndarray:
  """Stacks in.context_* with zero rows up to `length`."""
  rows = [
    io[f"in.context_{i}"] for i in range(len(io)) if f"in.context_{i}" in io
  ]
  return np.stack(
    [np.pad(row, ((0, length - len(row)), (0, 0))) for row in rows]
  )


def vision_params(weights: dict[str, np.ndarray], names: dict) -> dict:
  """Stacked blocks of a vision transformer with fused q, k, v.

  Args:
    weights: keys "<block>.<name>" only.
    names: original module to ours; "qkv" is split in three.
  """
  count = 1 + max(int(key.split(".")[0]) for key in weights)
  tree: dict = {}
  for old, new in names.items():
    for kind in ("weight", "bias"):
      keys = [f"{i}.{old}.{kind}" for i in range(count)]
      if keys[0] not in weights:
        continue
      values = [weights[key] for key in keys]
      leaf = leaf_name(kind, values[0].ndim)
      if new == "qkv":
        for j, part in enumerate("qkv"):
          split = [to_ours(np.split(v, 3)[j]) for v in values]
          set_path(tree, f"{part}.{leaf}", np.stack(split))
      else:
        set_path(tree, f"{new}.{leaf}", np.stack([to_ours(v) for v in values]))
  return tree


def omnimae(
  weights: dict[str, np.ndarray], heads: int, size: int
) -> tuple[motion.MotionEncoderConfig, dict]:
  """The trunk's configuration and parameters; keys start with "trunk."."""
  kernel = weights["trunk.patch_embed.proj.1.weight"]
  prefix = "trunk.blocks."
  blocks = vision_params(
    {k[len(prefix) :]: v for k, v in weights.items() if k.startswith(prefix)},
    {
      "norm1": "norm1",
      "norm2": "norm2",
      "attn.qkv": "qkv",
      "attn.proj": "o",
      "mlp.fc1": "mlp.fc1",
      "mlp.fc2": "mlp.fc2",
    },
  )
  params = {
    "patch_embed": {
      "kernel": to_ours(kernel),
      "bias": weights["trunk.patch_embed.proj.1.bias"],
    },
    "blocks": blocks,
    "norm": {
      "scale": weights["trunk.norm.weight"],
      "bias": weights["trunk.norm.bias"],
    },
  }
  config = motion.MotionEncoderConfig(
    image_size=(size, size),
    tubelet=kernel.shape[2],
    patch=kernel.shape[3],
    width=kernel.shape[0],
    num_layers=blocks["norm1"]["scale"].shape[0],
    num_heads=heads,
    mlp_width=blocks["mlp"]["fc1"]["kernel"].shape[-1],
  )
  return config, params
