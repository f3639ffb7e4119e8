"""Our networks to files with the original's names, for PyTorch users.

Files are safetensors with the original's names and shapes, and a config.json
for transformers. Source: docs/method/weights.md#transformer.
"""

import dataclasses
import json
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from more4d_jax import errors, locations
from more4d_jax.checkpoints import (
  array_trees,
  directories,
  dtypes,
  safetensors_files,
  store,
  stored_arrays,
)
from more4d_jax.lora import dialects
from more4d_jax.models import backbone, quantised
from more4d_jax.name_maps import dit, matching, table, text, trajectory, vae

_WEIGHTS = "diffusion_pytorch_model.safetensors"
_LORA = f"4D-ViSM/lora_{_WEIGHTS}"


@dataclasses.dataclass(frozen=True)
class File:
  """A file to write.

  Attributes:
    path: below the output directory.
    names: the table of its tensors.
    root: what stands before our paths of them.
    within: what the paths after the root start with, one of these; all must
      be in the table.
    prefix: what the original puts before all names.
    config: for a config.json beside it.
  """

  path: str
  names: table.Table
  root: str = ""
  within: tuple[str, ...] = ("",)
  prefix: str = ""
  config: Mapping[str, Any] | None = None


def revert(
  source: str | os.PathLike[str],
  out: str | os.PathLike[str],
  dtype: str | None = None,
) -> list[str]:
  """Writes the networks of a bundle, or one network, for the original.

  Args:
    source: a bundle, a training workdir, or a network's directory.
    out: new directory.
    dtype: brings all tensors to this type; None keeps theirs.

  Returns: lines on what was written and what was not.

  Raises:
    UserError: if there is no network, or the original could not hold it.
  """
  cast = dtypes.STORED.get(dtype) if dtype else None
  if dtype and cast is None:
    raise errors.UserError(
      f"expected a dtype among {', '.join(dtypes.STORED)}, found {dtype!r}"
    )
  out = locations.here(out, "the folder of published files")
  if out.exists():
    raise errors.UserError(f"{out} exists: name a new directory")
  lines = []
  with directories.new_directory(out) as temporary:
    for place in _networks(pathlib.Path(source)):
      network = store.open_network(place)
      _check_whole(network, place)
      files, notes = _files(network)
      lines += notes
      for file in files:
        count = _write(temporary, file, network, cast)
        lines.append(f"{out / file.path}: {count} tensors")
    for path in _loras(pathlib.Path(source)):
      found = dialects.load(path)
      dialects.save(temporary / _LORA, found.lora, "original")
      lines.append(f"{out / _LORA}: {len(found.lora.modules)} modules")
  return lines


def _check_whole(network: store.Network, place: pathlib.Path) -> None:
  if quantised.is_int8(matching.flatten(network.params).values()):
    raise errors.UserError(
      f"the {network.kind} in {place} holds int8 weights, which are no longer "
      "what was published: give back a checkpoint that was converted with "
      "--dtype bfloat16"
    )


def _loras(source: pathlib.Path) -> list[pathlib.Path]:
  if not (source / "model.json").is_file():
    return []
  return list(store.loras_of(source).values())


def _networks(source: pathlib.Path) -> list[pathlib.Path]:
  for candidate in (source / "model", source):
    if (candidate / "network.json").is_file():
      return [candidate]
  if not (source / "model.json").is_file():
    raise errors.UserError(
      f"expected a bundle, a workdir or a network in {source}, found none: "
      "name one that training, `more4d bundle` or `more4d convert` made"
    )
  names = store.networks_of(source)
  # Autoencoders and transformers; a depth network is not the original's.
  return [source / name for kind, name in names.items() if kind in _KINDS]


def _files(
  network: store.Network,
) -> tuple[list[File], list[str]]:
  if network.kind not in _KINDS:
    raise errors.UserError(
      f"a {network.kind} has no counterpart in the original: convert "
      f"{', '.join(_KINDS)} back"
    )
  return _KINDS[network.kind](network)


def _prefix_in(metadata: Mapping[str, Any], default: str = "") -> str:
  """What stood before all names when the network was published."""
  return metadata.get("published", {}).get("prefix", default)


def _prefix(network: store.Network, part: str, default: str = "") -> str:
  return _prefix_in(network.parts.get(part, {}), default)


def _strag(
  network: store.Network,
) -> tuple[list[File], list[str]]:
  folder = "4D-STraG"
  config, notes = network.config.dit, []
  if config.motion_width and config.motion_alignment != "compat":
    notes.append(
      "strag was trained with motion features in their places; the original "
      "shifts them by one frame and will not give the same trajectories"
    )
  if config.motion_width and not network.carried:
    notes.append(
      "strag holds no tensors of OmniMAE's decoder, which the original's "
      "strict loading wants: load it with strict=False"
    )
  files = [
    File(
      f"{folder}/{_WEIGHTS}",
      dit.STRAG,
      within=(dit.STRAG_DIT, dit.STRAG_MOTION),
      prefix=_prefix(network, "dit"),
      config=_transformer_config(config, "WanTransformer4DModel"),
    )
  ]
  return files + _text(network, folder, notes), notes


def _vism(
  network: store.Network,
) -> tuple[list[File], list[str]]:
  folder, notes = "4D-ViSM", []
  config = _transformer_config(network.config.dit, "WanTransformer3DModel")
  prefix = _prefix(network, "dit")
  files = [
    File(f"{folder}/{_WEIGHTS}", dit.DIT, "dit/", prefix=prefix, config=config)
  ]
  return files + _text(network, folder, notes), notes


def _text(network: store.Network, folder: str, notes: list[str]) -> list[File]:
  """A text encoder that was trained along; published ones stay published."""
  if "image_encoder" in network.params:
    notes.append(f"{network.kind}: the image encoder is CLIP's own file")
  if "text_encoder" in network.parts:
    notes.append(f"{network.kind}: the text encoder is umT5's own file")
    return []
  return [
    File(f"{folder}/text_encoder.safetensors", text.UMT5, "text_encoder/")
  ]


def _transformer(
  network: store.Network,
) -> tuple[list[File], list[str]]:
  config = _transformer_config(network.config, "WanTransformer3DModel")
  prefix = _prefix_in(network.metadata)
  return [File(_WEIGHTS, dit.DIT, prefix=prefix, config=config)], []


def _video_vae(
  network: store.Network,
) -> tuple[list[File], list[str]]:
  prefix = _prefix_in(network.metadata)
  names = vae.table_of(network.config)
  return [File("Wan2.1_VAE.safetensors", names, prefix=prefix)], []


def _motion_vae(
  network: store.Network,
) -> tuple[list[File], list[str]]:
  config = network.config
  if config.gain != 1.0:
    raise errors.UserError(
      f"this motion VAE multiplies motion by {config.gain}, which the original "
      "cannot do: train one with gain 1 to take it there"
    )
  blocks = config.adapter.encoder_blocks, config.adapter.decoder_blocks
  files = [
    File(
      "VAE/vae/pytorch_model.safetensors",
      vae.table_of(config.vae),
      "vae/",
      prefix=_prefix(network, "vae", "model."),
    )
  ]
  for side, count in zip(("encoder", "decoder"), blocks):
    files.append(
      File(
        f"VAE/{side}_prompt/pytorch_model.safetensors",
        trajectory.table_of(side, count),
        f"trajectory_{side}/",
      )
    )
  return files, []


_KINDS: Mapping[str, Callable] = {
  "strag": _strag,
  "vism": _vism,
  "video_vae": _video_vae,
  "motion_vae": _motion_vae,
  "transformer": _transformer,
}


def _transformer_config(
  config: backbone.DiTConfig, name: str
) -> dict[str, Any]:
  """What the original's constructor takes."""
  facts = {
    "_class_name": name,
    "model_type": "t2v" if config.image_width is None else "i2v",
    "patch_size": list(config.patch),
    "text_len": config.text_length,
    "text_dim": config.text_width,
    "freq_dim": config.frequency_width,
    "dim": config.width,
    "hidden_size": config.width,
    "ffn_dim": config.ffn_width,
    "num_heads": config.num_heads,
    "num_layers": config.num_layers,
    "in_dim": config.in_channels,
    "in_channels": config.in_channels,
    "out_dim": config.out_channels,
    "eps": config.eps,
    "qk_norm": True,
    "cross_attn_norm": True,
    "add_ref_conv": config.reference,
  }
  if config.motion_width is not None:
    facts |= {"use_omnimae_guidance": True, "use_dino_guidance": False}
  return facts


def _write(
  out: pathlib.Path,
  file: File,
  network: store.Network,
  cast: np.dtype | None,
) -> int:
  """Writes a file and returns the number of its tensors."""
  tensors = published_tensors(file, network, cast)
  safetensors_files.write(out / file.path, tensors)
  if file.config is not None:
    beside = (out / file.path).with_name("config.json")
    beside.write_text(json.dumps(file.config, indent=2) + "\n")
  return len(tensors)


def published_tensors(
  file: File,
  network: store.Network,
  cast: np.dtype | None = None,
) -> dict[str, array_trees.LazyArray]:
  """Tensors under the original's names, unread.

  Args:
    file: which, and how they are named.
    network: holds them.
    cast: type to bring those that are mapped to.
  """
  below = tuple(file.root + start for start in file.within)
  own = {
    path.removeprefix(file.root): array
    for path, array in matching.flatten(network.params).items()
    if path.startswith(below)
  }
  carried = network.carried if any(r.carried for r in file.names.rows) else {}
  found = matching.match_params(
    file.names,
    {path: array.shape for path, array in own.items()},
    {name: tensor.shape for name, tensor in carried.items()},
    f"the {network.kind}",
  )
  transformer = getattr(network.config, "dit", network.config)
  if isinstance(transformer, backbone.DiTConfig):
    found = found.with_head_dim(transformer.layer.head_dim)
  read = _reader(own)
  tensors = {}
  for entry in found.entries:
    kept = cast or own[entry.row.paths[0]].dtype

    def one(entry=entry, kept=kept) -> np.ndarray:
      values = [read(path, entry.layer) for path in entry.row.paths]
      return entry.to_published(values).astype(kept, copy=False)

    tensors[file.prefix + entry.name] = array_trees.LazyArray(
      entry.shape, kept, one
    )
  return {**tensors, **{file.prefix + k: v for k, v in carried.items()}}


def _reader(
  params: Mapping[str, stored_arrays.StoredArray],
) -> Callable[[str, int | None], np.ndarray]:
  """Reads a parameter, or a layer of it.

  Where layers are stored together, all are read and kept until another path
  is read.
  """
  last: dict[str, np.ndarray] = {}

  def read(path: str, layer: int | None) -> np.ndarray:
    if layer is None:
      return params[path][...]
    if params[path].rows == 1:
      return params[path][layer]
    if path not in last:
      last.clear()
      last[path] = params[path][...]
    return last[path][layer]

  return read
