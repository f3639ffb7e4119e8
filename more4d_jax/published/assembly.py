"""Parts of a bundle joined to the networks that sampling uses.

What cannot be read off tensors is stated here: how the released weights were
trained and are sampled. Source: docs/differences.md#decisions.
"""

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Mapping
from typing import Any

from more4d_jax import errors, registry
from more4d_jax.checkpoints import configurations, directories, store
from more4d_jax.geometry import motion as motion_geometry
from more4d_jax.models import (
  backbone,
  latent_stats,
  motion_vae,
  strag,
  variants,
  vism,
)

# Factors that every released network was trained with
# (docs/method/trajectories.md#camera-factors).
_ALPHA = (1.0434782608695652, 1.0)
_SAMPLING = {
  "num_steps": 50,
  "guidance_scale": 6.0,
  "shift": 5.0,
  "sampler": "euler",
  "schedule": "compat",
}
_CONDITIONS = {"image_context": "grey", "reference": "zeros"}

LORAS = "loras"  # Folder in a bundle, with one file for each kind of network.

# Network -> names of its parameters, and the parts that hold them.
_RECIPES: Mapping[str, Mapping[str, str]] = {
  "motion_vae": {
    "trajectory_encoder": "trajectory_encoder",
    "vae": "motion_video_vae",
    "trajectory_decoder": "trajectory_decoder",
  },
  "strag": {
    "dit": "strag_transformer",
    "text_encoder": "text_encoder",
    "motion_encoder": "strag_motion_encoder",
    "image_encoder": "image_encoder",
  },
  "vism": {
    "dit": "vism_transformer",
    "text_encoder": "text_encoder",
    "image_encoder": "image_encoder",
  },
}
# What the first part of a network needs only if it is made for it.
_OPTIONAL = {"motion_encoder": "motion_width", "image_encoder": "image_width"}


@dataclasses.dataclass(frozen=True)
class Clip:
  """What the weights were trained at; the default is the release's."""

  frames: int = 49
  height: int = 368
  width: int = 512
  fps: float = 8.0


@dataclasses.dataclass(frozen=True)
class Known:
  """What is known of a part of a bundle.

  Attributes:
    config: its configuration.
    clip: what it was trained at.
  """

  config: Any
  clip: Clip


@dataclasses.dataclass(frozen=True)
class Assembled:
  """A network made of parts.

  Attributes:
    config: of the network.
    metadata: without its identity.
    parts: name among the parameters -> directory of the part.
  """

  config: Any
  metadata: Mapping[str, Any]
  parts: Mapping[str, str]


@dataclasses.dataclass(frozen=True)
class Plan:
  """What a set of parts gives.

  Attributes:
    networks: kind -> network that all parts of are there.
    missing: kind -> directories of parts that are not.
  """

  networks: Mapping[str, Assembled]
  missing: Mapping[str, tuple[str, ...]]


def plan(known: Mapping[str, Known]) -> Plan:
  """Joins parts.

  Args:
    known: directory -> part. Of the parts of a network, the transformer's or
      video autoencoder's clip counts.

  Raises:
    UserError: if parts of different sizes would have to be joined.
  """
  networks, missing = {}, {}
  parts = {place: part.config for place, part in known.items()}
  for kind, recipe in _RECIPES.items():
    needed = _needed(recipe, parts)
    absent = tuple(sorted(set(needed.values()) - set(parts)))
    if len(absent) == len(needed):
      continue
    if absent:
      missing[kind] = absent
      continue
    found = {name: parts[place] for name, place in needed.items()}
    config = _CONFIGS[kind](found)
    clip = known[needed["dit" if "dit" in needed else "vae"]].clip
    networks[kind] = Assembled(config, _metadata(kind, config, clip), needed)
  return Plan(networks, missing)


def _needed(
  recipe: Mapping[str, str], parts: Mapping[str, Any]
) -> dict[str, str]:
  """The recipe without encoders that its transformer does without."""
  dit = parts.get(recipe.get("dit", ""))
  return {
    name: place
    for name, place in recipe.items()
    if dit is None
    or name not in _OPTIONAL
    or getattr(dit, _OPTIONAL[name]) is not None
  }


def _equal(what: str, sizes: Mapping[str, Any]) -> None:
  if len(set(sizes.values())) > 1:
    found = " and ".join(f"{size} ({name})" for name, size in sizes.items())
    raise errors.UserError(
      f"these weights do not belong together: {what} is {found}; convert files "
      "of one size into one folder"
    )


def _check(parts: Mapping[str, Any]) -> backbone.DiTConfig:
  """Compares the transformer with its encoders."""
  dit, encoder = parts["dit"], parts["text_encoder"]
  text_sizes = {"transformer": dit.text_width, "text encoder": encoder.width}
  _equal("the width of text features", text_sizes)
  if "image_encoder" in parts:
    width = parts["image_encoder"].width
    sizes = {"transformer": dit.image_width, "image encoder": width}
    _equal("the width of image features", sizes)
    dit = dataclasses.replace(
      dit, image_tokens=parts["image_encoder"].num_tokens
    )
  return dataclasses.replace(dit, text_length=encoder.length)


def _strag(parts: Mapping[str, Any]) -> strag.STraGConfig:
  dit, encoder = _check(parts), parts.get("motion_encoder")
  if encoder is not None:
    sizes = {"transformer": dit.motion_width, "motion encoder": encoder.width}
    _equal("the width of motion features", sizes)
  channels = strag.LATENT_CHANNELS
  return strag.STraGConfig(
    dit=dit,
    text=parts["text_encoder"],
    motion=encoder,
    image=parts.get("image_encoder"),
    use_depth_latents=dit.in_channels == 4 * channels,
  )


def _vism(parts: Mapping[str, Any]) -> vism.ViSMConfig:
  return vism.ViSMConfig(
    _check(parts), parts["text_encoder"], parts.get("image_encoder")
  )


def _motion_vae(parts: Mapping[str, Any]) -> motion_vae.MotionVAEConfig:
  encoder, decoder = parts["trajectory_encoder"], parts["trajectory_decoder"]
  sizes = {"trajectory encoder": encoder.width, "decoder": decoder.width}
  _equal("the width of the trajectory networks", sizes)
  adapter = dataclasses.replace(encoder, decoder_blocks=decoder.decoder_blocks)
  return motion_vae.MotionVAEConfig(parts["vae"], adapter)


_CONFIGS = {"motion_vae": _motion_vae, "strag": _strag, "vism": _vism}


def _sizes(kind: str, config: Any) -> list[str]:
  """Named sizes whose network this is, up to how it computes."""

  def tensors(value: Any) -> Any:
    dit = getattr(value, "dit", None)
    if dit is None:
      return getattr(value, "vae", value)
    return dit.width, dit.num_layers, dit.ffn_width, dit.in_channels

  return [
    name
    for name, variant in variants.VARIANTS.items()
    if tensors(getattr(variant, kind)) == tensors(config)
  ]


def _metadata(kind: str, config: Any, clip: Clip) -> dict[str, Any]:
  """What training would have written beside the network."""
  size = {"frames": clip.frames, "height": clip.height, "width": clip.width}
  sizes = _sizes(kind, config)
  facts: dict[str, Any] = {**size, "sizes": sizes}
  if sizes:
    facts["size"] = sizes[0]
  base, trajectory = latent_stats.WAN, latent_stats.TRAJECTORY
  motion_stats = latent_stats.chain(base, trajectory).to_json()
  normalisation = dataclasses.asdict(
    motion_geometry.MotionNormalisation("depth", _ALPHA)
  )
  if kind == "motion_vae":
    return {
      **facts,
      "normalisation": normalisation,
      "base_latent_stats": base.to_json(),
      "trajectory_latent_stats": trajectory.to_json(),
      "latent_stats": motion_stats,
    }
  facts |= {"fps": clip.fps, "sampling": dict(_SAMPLING)}
  if kind == "vism":
    return facts
  return {
    **facts,
    "normalisation": normalisation,
    "latent_stats": motion_stats,
    "conditions": dict(_CONDITIONS),
  }


def parts_in(directory: pathlib.Path) -> dict[str, Known]:
  """The parts in a bundle, by directory."""
  found = {}
  classes = registry.config_classes()
  for place in sorted(directory.glob("*/network.json")):
    if place.parent.suffix:  # Unfinished, or being replaced.
      continue
    header = store.load_header(place.parent)
    if "parts" not in header:
      cls = classes[header["kind"]]
      clip = header["metadata"].get("clip", {})
      found[place.parent.name] = Known(
        configurations.from_json(cls, header["config"]), Clip(**clip)
      )
  return found


def assemble(directory: pathlib.Path) -> Plan:
  """Writes the networks that the parts in a bundle give, and names them all.

  Raises:
    UserError: as `plan`.
  """
  parts = parts_in(directory)
  planned = plan(parts)
  for kind, network in planned.networks.items():
    identities = {
      name: store.load_header(directory / place)["metadata"].get("identity")
      for name, place in network.parts.items()
    }
    facts = [identities, dict(network.metadata)]
    text = json.dumps(facts, sort_keys=True)
    identity = hashlib.sha256(text.encode()).hexdigest()[:16]
    with directories.new_directory(directory / kind) as temporary:
      store.write_header(
        temporary,
        network.config,
        {**network.metadata, "identity": identity},
        parts=network.parts,
      )
  whole = [kind for kind in registry.NETWORKS if kind in parts]
  names = {kind: kind for kind in (*whole, *planned.networks)}
  loras = sorted((directory / LORAS).glob("*.safetensors"))
  store.write_model(
    directory, names, {path.stem: f"{LORAS}/{path.name}" for path in loras}
  )
  return planned
