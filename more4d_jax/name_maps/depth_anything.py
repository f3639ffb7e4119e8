"""Names of Depth Anything V2: original and transformers.

Our parameters follow the original, which fuses queries, keys and values; a
checkpoint in the layout of transformers is read as if it were an original one.
Sources: arXiv 2406.09414 and the released files' names. Sizes: D width, M
hidden width, P positions, C0 to C3 channels of the four maps, F channels of
the fusion, G channels before the last map, E those before them.
"""

import dataclasses
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from more4d_jax import errors
from more4d_jax.models.encoders import depth
from more4d_jax.name_maps import matching, table
from more4d_jax.name_maps import stated as stated_lib

PATCH = 14
HEAD_WIDTH = 64  # Of every published trunk.
_MASKED = "pictures are whole"
_COARSEST = "the coarsest map meets no other one"
# Blocks whose outputs the head reads, by the trunk's depth.
_TAPS = {12: (2, 5, 8, 11), 24: (4, 11, 17, 23)}

_TRUNK, _BLOCK, _HEAD = "pretrained.", "pretrained.blocks.{i}.", "depth_head."
_SCRATCH = f"{_HEAD}scratch."


def _trunk() -> tuple[table.Row, ...]:
  ours = "trunk/layers"
  return (
    table.Row(f"{_TRUNK}cls_token", "1 1 D", ("trunk/class_token",), "squeeze"),
    table.Row(f"{_TRUNK}pos_embed", "1 P D", ("trunk/position",), "squeeze"),
    table.Row(f"{_TRUNK}mask_token", "1 D", unused=_MASKED, group="mask token"),
    *table.linear(
      f"{_TRUNK}patch_embed.proj",
      "trunk/patch",
      f"D 3 {PATCH} {PATCH}",
      layout="flat_kernel",
    ),
    *table.norm(f"{_BLOCK}norm1", f"{ours}/norm_1", "D"),
    *table.linear(f"{_BLOCK}attn.qkv", f"{ours}/qkv", "3*D D"),
    *table.linear(f"{_BLOCK}attn.proj", f"{ours}/out", "D D"),
    table.Row(f"{_BLOCK}ls1.gamma", "D", (f"{ours}/scale_1",)),
    *table.norm(f"{_BLOCK}norm2", f"{ours}/norm_2", "D"),
    *table.linear(f"{_BLOCK}mlp.fc1", f"{ours}/mlp_in", "M D"),
    *table.linear(f"{_BLOCK}mlp.fc2", f"{ours}/mlp_out", "D M"),
    table.Row(f"{_BLOCK}ls2.gamma", "D", (f"{ours}/scale_2",)),
    *table.norm(f"{_TRUNK}norm", "trunk/norm", "D"),
  )


def _fusion(index: int) -> tuple[table.Row, ...]:
  """Map 0 is the finest; the original counts from 1."""
  name, path = f"{_SCRATCH}refinenet{index + 1}", f"head/fusion_{index}"
  rows = [*table.linear(f"{name}.out_conv", f"{path}/out", "F F 1 1")]
  for unit in (1, 2):
    for n in (1, 2):
      conv = f"{name}.resConfUnit{unit}.conv{n}"
      if index == 3 and unit == 1:
        rows += [
          table.Row(f"{conv}.weight", "F F 3 3", unused=_COARSEST),
          table.Row(f"{conv}.bias", "F", unused=_COARSEST),
        ]
      else:
        ours = f"{path}/residual_{unit}/conv_{n}"
        rows += table.linear(conv, ours, "F F 3 3")
  return tuple(rows)


def _head() -> tuple[table.Row, ...]:
  rows = []
  for i in range(4):
    name, path = f"{_HEAD}projects.{i}", f"head/project_{i}"
    rows += table.linear(name, path, f"C{i} D 1 1")
    rows += table.linear(
      f"{_SCRATCH}layer{i + 1}_rn",
      f"head/reduce_{i}",
      f"F C{i} 3 3",
      bias=False,
    )
    rows += _fusion(i)
  for i, side in ((0, 4), (1, 2)):
    rows += table.linear(
      f"{_HEAD}resize_layers.{i}",
      f"head/resize_{i}",
      f"C{i} C{i} {side} {side}",
      layout="transposed_kernel",
    )
  rows += table.linear(f"{_HEAD}resize_layers.3", "head/resize_3", "C3 C3 3 3")
  rows += table.linear(f"{_SCRATCH}output_conv1", "head/conv_1", "E F 3 3")
  rows += table.linear(f"{_SCRATCH}output_conv2.0", "head/conv_2", "G E 3 3")
  rows += table.linear(f"{_SCRATCH}output_conv2.2", "head/conv_3", "1 G 1 1")
  return tuple(rows)


DEPTH_ANYTHING = table.Table("Depth Anything V2", (*_trunk(), *_head()))

# Module of transformers -> module of the original, in this order.
_MODULES = (
  (r"backbone\.embeddings\.cls_token", f"{_TRUNK}cls_token"),
  (r"backbone\.embeddings\.mask_token", f"{_TRUNK}mask_token"),
  (r"backbone\.embeddings\.position_embeddings", f"{_TRUNK}pos_embed"),
  (
    r"backbone\.embeddings\.patch_embeddings\.projection",
    f"{_TRUNK}patch_embed.proj",
  ),
  (r"backbone\.encoder\.layer\.(\d+)", r"pretrained.blocks.\1"),
  (r"attention\.output\.dense", "attn.proj"),
  (r"layer_scale([12])\.lambda1", r"ls\1.gamma"),
  (r"backbone\.layernorm", f"{_TRUNK}norm"),
  (
    r"neck\.reassemble_stage\.layers\.(\d)\.projection",
    rf"{_HEAD}projects.\1",
  ),
  (
    r"neck\.reassemble_stage\.layers\.(\d)\.resize",
    rf"{_HEAD}resize_layers.\1",
  ),
  (r"residual_layer([12])\.convolution([12])", r"resConfUnit\1.conv\2"),
  (r"head\.conv1", f"{_SCRATCH}output_conv1"),
  (r"head\.conv2", f"{_SCRATCH}output_conv2.0"),
  (r"head\.conv3", f"{_SCRATCH}output_conv2.2"),
)
_FUSED = ("query", "key", "value")
_PART = re.compile(
  r"backbone\.encoder\.layer\.(\d+)\.attention\.attention\.(\w+)\.(\w+)"
)


def _original_name(name: str) -> str:
  """The original's name of a tensor of transformers."""
  for pattern, module in _MODULES:
    name = re.sub(rf"(?:^|(?<=\.)){pattern}(?=\.|$)", module, name)
  # Fusion layers are numbered from the coarsest there, maps from the finest.
  name = re.sub(
    r"neck\.fusion_stage\.layers\.(\d)\.(?:projection(?=\.))?",
    lambda m: f"{_SCRATCH}refinenet{4 - int(m[1])}."
    + ("out_conv" if m[0].endswith("projection") else ""),
    name,
  )
  return re.sub(
    r"neck\.convs\.(\d)",
    lambda m: f"{_SCRATCH}layer{int(m[1]) + 1}_rn",
    name,
  )


def is_transformers(names: Mapping[str, Any]) -> bool:
  """Whether the names are those of transformers."""
  return "backbone.embeddings.cls_token" in names


class AsOriginal(Mapping[str, np.ndarray]):
  """Tensors of the layout of transformers under the original's names.

  Queries, keys and values of a layer are joined when they are read.
  """

  def __init__(self, weights: Mapping[str, np.ndarray]):
    self._weights = weights
    self._sources: dict[str, tuple[str, ...]] = {}
    for name in weights:
      part = _PART.fullmatch(name)
      if part is None or part[2] not in _FUSED:
        self._sources[_original_name(name)] = (name,)
        continue
      fused = f"pretrained.blocks.{part[1]}.attn.qkv.{part[3]}"
      stem = name[: part.start(2)]
      parts = tuple(f"{stem}{which}.{part[3]}" for which in _FUSED)
      if all(source in weights for source in parts):
        self._sources[fused] = parts
      else:  # Stays under its own name, so that the match reports it.
        self._sources[name] = (name,)

  def __getitem__(self, name: str) -> np.ndarray:
    """The tensor; joined along its first axis where it is fused."""
    parts = [self._weights[source] for source in self._sources[name]]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)

  def __iter__(self) -> Iterator[str]:
    """Original names."""
    return iter(self._sources)

  def __len__(self) -> int:
    """Number of original names."""
    return len(self._sources)


@dataclasses.dataclass(frozen=True)
class Stated:
  """What tensors do not tell, from the config.json beside them.

  Attributes:
    kind: "metric" or "relative".
    max_depth: metres that the network's largest output stands for.
    num_heads: None: the published width per head.
    taps: blocks that the head reads; None: those of the published trunks.
    position_offset: see `depth.DepthConfig`.
  """

  kind: str
  max_depth: float
  num_heads: int | None = None
  taps: tuple[int, ...] | None = None
  position_offset: float = 0.1

  @classmethod
  def read(cls, values: Mapping[str, Any], *, transformers: bool) -> "Stated":
    """Reads the config.json of transformers, or one of two fields.

    Raises:
      UserError: if the kind, or a metric network's range, is not stated.
    """
    kind = values.get("depth_estimation_type")
    largest = stated_lib.number(values, "max_depth", 0, 1e6)
    if kind not in ("metric", "relative") or (kind == "metric" and not largest):
      example = {"depth_estimation_type": "metric", "max_depth": 20}
      raise errors.UserError(
        "expected a config.json beside a depth network's tensors that states "
        f"what it gives, found {kind!r} up to {largest!r}: write "
        f"{json.dumps(example)} for an indoor network, 80 for an outdoor one, "
        "or the type relative"
      )
    trunk = values.get("backbone_config") or {}
    if not isinstance(trunk, dict):
      raise errors.UserError(
        "config.json states a backbone_config that is no JSON object: use the "
        "one published with the weights"
      )
    return cls(
      kind,
      float(largest or 1.0),
      stated_lib.count(trunk, "num_attention_heads", 1, 1024),
      _taps(trunk.get("out_indices")),
      0.0 if transformers else 0.1,
    )


def _taps(stages: Any) -> tuple[int, ...] | None:
  """Blocks whose outputs are the stages; stage 0 enters the first block."""
  if stages is None:
    return None
  if not isinstance(stages, list) or not all(
    type(stage) is int and 1 <= stage <= 1024 for stage in stages
  ):
    raise errors.UserError(
      f"config.json states out_indices {str(stages)[:40]}, expected a list of "
      "stages from 1: use the one published with the weights"
    )
  return tuple(stage - 1 for stage in stages)


def config(found: table.Match, stated: Stated) -> depth.DepthConfig:
  """The configuration of a matched network.

  Raises:
    UserError: for a trunk whose taps are neither stated nor published, or a
      position table that is not that of a square picture.
  """
  sizes, layers = found.sizes, found.layers[f"{_TRUNK}blocks."]
  side = matching.exact_root(sizes["P"] - 1, found.model)
  taps = stated.taps or _TAPS.get(layers)
  if taps is None:
    raise errors.UserError(
      f"expected a depth network of {' or '.join(map(str, _TAPS))} blocks, "
      f"found {layers}: state backbone_config.out_indices in its config.json"
    )
  heads = stated.num_heads or sizes["D"] // HEAD_WIDTH
  if heads == 0 or sizes["D"] % heads or len(taps) != 4 or max(taps) >= layers:
    raise errors.UserError(
      f"config.json states {heads} heads and stages {taps} of a depth network "
      f"of {layers} blocks of width {sizes['D']}: use the one published with "
      "the weights"
    )
  return depth.DepthConfig(
    width=sizes["D"],
    num_layers=layers,
    num_heads=heads,
    mlp_ratio=sizes["M"] // sizes["D"],
    patch=PATCH,
    position_grid=(side, side),
    position_offset=stated.position_offset,
    taps=taps,
    reassemble=tuple(sizes[f"C{i}"] for i in range(4)),
    features=sizes["F"],
    head_features=sizes["G"],
    output="sigmoid" if stated.kind == "metric" else "relu",
    max_depth=stated.max_depth,
    input_size=518,
  )
