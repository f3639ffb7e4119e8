"""Which networks a published file holds, told from the names in it.

A file becomes one or two parts of a bundle: networks of their own, which
`assembly` joins to those that sampling uses.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from more4d_jax import errors
from more4d_jax.checkpoints import array_trees, dtypes, weight_files
from more4d_jax.models import latent_stats
from more4d_jax.name_maps import (
  depth_anything,
  dit,
  image,
  matching,
  motion,
  table,
  text,
  trajectory,
  vae,
)

# Input channels of the transformers -> what they are for.
_ROLES = {64: "strag", 48: "control", 36: "vism", 16: "text_to_video"}
_TOKENIZER_FOLDERS = ("google/umt5-xxl", "tokenizer", ".")
TOKENIZER_FILES = (
  "tokenizer.json",
  "spiece.model",
  "tokenizer_config.json",
  "special_tokens_map.json",
)


@dataclasses.dataclass(frozen=True)
class Part:
  """A network in a published file.

  Attributes:
    directory: its name in a bundle.
    config: its configuration.
    tensors: of the file, by published name.
    prefix: of its published names in the file.
    entries: tensors that its parameters hold.
    root: what our paths in the entries have before those of the network.
    carried: names, without the prefix, of tensors that are kept as they are.
    metadata: JSON values.
    tokenizer: folder of the files that make tokens of captions.
  """

  directory: str
  config: Any
  tensors: Mapping[str, array_trees.LazyArray]
  prefix: str
  entries: tuple[table.Entry, ...]
  root: str = ""
  carried: tuple[str, ...] = ()
  metadata: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  tokenizer: pathlib.Path | None = None

  @property
  def names(self) -> list[str]:
    """Tensors in the file that the parameters hold."""
    return [self.prefix + entry.name for entry in self.entries]


@dataclasses.dataclass(frozen=True)
class Format:
  """A kind of published file.

  Attributes:
    what: for messages.
    sign: name of a tensor that tells it from those after it in `FORMATS`;
      other names may stand before it.
    parts: the networks in it.
  """

  what: str
  sign: str
  parts: Callable[[weight_files.Weights], list[Part]]

  def fits(self, weights: weight_files.Weights) -> bool:
    """Whether the file is of this kind."""
    return any(f".{name}".endswith(f".{self.sign}") for name in weights.tensors)


def parts_of(
  weights: weight_files.Weights, dtype: str | None = None
) -> list[Part]:
  """The networks that a file holds.

  Args:
    weights: of the file.
    dtype: that the weights will be brought to, None for their own.

  Raises:
    UserError: if the file is of no known kind, or its tensors are not exactly
      those of its kind.
  """
  for kind in FORMATS:
    if kind.fits(weights):
      return [_described(part, weights, dtype) for part in kind.parts(weights)]
  looked = "; ".join(f"{kind.what} ({kind.sign})" for kind in FORMATS)
  some = ", ".join(sorted(weights.tensors)[:3])
  raise errors.UserError(
    f"{weights.path} is of no known kind: it holds {len(weights.tensors)} "
    f"tensors as {some}; looked for {looked}"
  )


def known(weights: weight_files.Weights) -> bool:
  """Whether a file is of any known kind."""
  return any(kind.fits(weights) for kind in FORMATS)


def _described(
  part: Part, weights: weight_files.Weights, dtype: str | None
) -> Part:
  """A part with what is known of its file; computes as it will be stored.

  What is stored in float16 computes in float32.
  """
  found = weight_files.dtypes_of(part.tensors, part.names)
  stored = {dtypes.products(dtype)} if dtype else set(found)
  computed = "bfloat16" if stored == {"bfloat16"} else "float32"
  facts = {"file": weights.path.name, "prefix": part.prefix}
  if dtype:
    facts["dtype"] = dtype
  return dataclasses.replace(
    part,
    config=dtypes.computing_in(part.config, computed),
    metadata={**part.metadata, "published": facts},
  )


def _match(names: table.Table, weights: weight_files.Weights) -> table.Match:
  return matching.match(names, weights.shapes, str(weights.path))


def _part(
  directory: str,
  config: Any,
  found: table.Match,
  weights: weight_files.Weights,
  **more: Any,
) -> Part:
  return Part(
    directory, config, weights.tensors, found.prefix, found.entries, **more
  )


def _transformer(weights: weight_files.Weights) -> list[Part]:
  motion_too = any("omnimae_extractor." in name for name in weights.tensors)
  found = _match(dit.STRAG if motion_too else dit.DIT, weights)
  if not motion_too:
    return [_transformer_part(found, weights)]
  inner = _below(found, dit.STRAG_MOTION)
  encoder = Part(
    directory="strag_motion_encoder",
    config=motion.config(inner),
    tensors=weights.tensors,
    prefix=found.prefix,
    entries=inner.entries,
    root=dit.STRAG_MOTION,
    carried=tuple(entry.name for entry in found.carried),
  )
  grid = encoder.config.grid
  found = _below(found, dit.STRAG_DIT)
  return [_transformer_part(found, weights, grid, dit.STRAG_DIT), encoder]


def _below(found: table.Match, root: str) -> table.Match:
  """The part of a match whose paths lie below a root."""
  entries = tuple(
    entry for entry in found.entries if entry.row.paths[0].startswith(root)
  )
  return dataclasses.replace(found, entries=entries)


def _transformer_part(
  found: table.Match,
  weights: weight_files.Weights,
  grid: tuple[int, int] = (14, 14),
  root: str = "",
) -> Part:
  stated = weights.config.get("dim")
  if stated not in (None, found.sizes["D"]):
    raise errors.UserError(
      f"config.json beside {weights.path} is of another size: it states width "
      f"{stated}, the tensors have {found.sizes['D']}; use the one published "
      "with these weights"
    )
  config = dit.config(found, dit.Stated.read(weights.config), grid)
  found = found.with_head_dim(config.layer.head_dim)
  role = _ROLES.get(config.in_channels)
  if config.motion_width is not None:
    role = "strag"
  if role is None:
    raise errors.UserError(
      f"{weights.path} is a transformer of {config.in_channels} input "
      "channels: expected 64 (4D-STraG), 48 (Control), 36 (InP) or 16 (text to "
      "video)"
    )
  return _part(f"{role}_transformer", config, found, weights, root=root)


def _diffusers_transformer(weights: weight_files.Weights) -> list[Part]:
  return [_transformer_part(_match(dit.DIFFUSERS, weights), weights)]


def _text(names: table.Table) -> Callable[[weight_files.Weights], list[Part]]:
  def parts(weights: weight_files.Weights) -> list[Part]:
    found = _match(names, weights)
    tokenizer = _tokenizer(weights.path.parent)
    config = text.config(found)
    return [_part("text_encoder", config, found, weights, tokenizer=tokenizer)]

  return parts


def _tokenizer(folder: pathlib.Path) -> pathlib.Path | None:
  for name in _TOKENIZER_FOLDERS:
    if any((folder / name / file).is_file() for file in TOKENIZER_FILES[:2]):
      return folder / name
  return None


def _image(names: table.Table) -> Callable[[weight_files.Weights], list[Part]]:
  def parts(weights: weight_files.Weights) -> list[Part]:
    found = _match(names, weights)
    return [_part("image_encoder", image.config(found), found, weights)]

  return parts


def _motion(weights: weight_files.Weights) -> list[Part]:
  found = _match(motion.OMNIMAE, weights)
  return [_part("motion_encoder", motion.config(found), found, weights)]


def _autoencoder(weights: weight_files.Weights) -> list[Part]:
  config = vae.config_of(weights.shapes)
  found = _match(vae.table_of(config), weights)
  # Stage A saves its own with a prefix, the published base has none.
  directory = "motion_video_vae" if found.prefix else "video_vae"
  stats = latent_stats.WAN
  channels = len(np.asarray(stats.mean))
  if config.latent_channels != channels:
    raise errors.UserError(
      f"{weights.path} has {config.latent_channels} latent channels: "
      f"statistics are published for {channels}"
    )
  metadata = {"latent_stats": stats.to_json()}
  return [_part(directory, config, found, weights, metadata=metadata)]


def _trajectory(weights: weight_files.Weights) -> list[Part]:
  side = trajectory.side_of(weights.tensors)
  blocks = trajectory.blocks_in(weights.tensors, side)
  found = _match(trajectory.table_of(side, blocks), weights)
  config = trajectory.config(
    found,
    blocks if side == "encoder" else 0,
    blocks if side == "decoder" else 0,
  )
  return [_part(f"trajectory_{side}", config, found, weights)]


class _Reading(Mapping[str, np.ndarray]):
  """Tensors that are read when they are needed."""

  def __init__(self, tensors: Mapping[str, array_trees.LazyArray]):
    self._tensors = tensors

  def __getitem__(self, name: str) -> np.ndarray:
    return self._tensors[name].read()

  def __iter__(self) -> Iterator[str]:
    return iter(self._tensors)

  def __len__(self) -> int:
    return len(self._tensors)


def _depth(weights: weight_files.Weights) -> list[Part]:
  transformers = depth_anything.is_transformers(weights.tensors)
  if transformers:
    weights = _as_original(weights)
  found = _match(depth_anything.DEPTH_ANYTHING, weights)
  stated = depth_anything.Stated.read(weights.config, transformers=transformers)
  config = depth_anything.config(found, stated)
  return [_part("depth", config, found, weights)]


def _as_original(weights: weight_files.Weights) -> weight_files.Weights:
  """A depth network of transformers under the original's names."""
  read = depth_anything.AsOriginal(_Reading(weights.tensors))
  empty = depth_anything.AsOriginal(
    {
      name: np.broadcast_to(np.zeros((), tensor.dtype), tensor.shape)
      for name, tensor in weights.tensors.items()
    }
  )
  tensors = {
    name: array_trees.LazyArray(
      value.shape, value.dtype, functools.partial(read.__getitem__, name)
    )
    for name, value in empty.items()
  }
  return dataclasses.replace(weights, tensors=tensors)


# The first whose sign is there; later signs may stand in earlier kinds.
FORMATS = (
  Format(
    "transformer, original names", "blocks.0.self_attn.q.weight", _transformer
  ),
  Format(
    "transformer, diffusers names",
    "condition_embedder.time_proj.weight",
    _diffusers_transformer,
  ),
  Format("CLIP", "visual.cls_embedding", _image(image.CLIP)),
  Format("umT5", "blocks.0.ffn.gate.0.weight", _text(text.UMT5)),
  Format(
    "video autoencoder",
    "encoder.downsamples.0.residual.0.gamma",
    _autoencoder,
  ),
  Format("trajectory encoder", "down.0.block.0.conv1.weight", _trajectory),
  Format("trajectory decoder", "up.0.block.0.conv1.weight", _trajectory),
  Format("OmniMAE", "trunk.patch_embed.proj.1.weight", _motion),
  Format("Depth Anything V2", "depth_head.projects.0.weight", _depth),
  Format(
    "Depth Anything V2, transformers names",
    "backbone.embeddings.cls_token",
    _depth,
  ),
  Format(
    "umT5, transformers names",
    "encoder.block.0.layer.0.SelfAttention.q.weight",
    _text(text.TRANSFORMERS),
  ),
  Format(
    "CLIP, transformers names",
    "embeddings.class_embedding",
    _image(image.TRANSFORMERS),
  ),
)
