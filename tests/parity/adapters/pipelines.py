"""Both sampling loops, with the networks of the neighbouring folders."""

import dataclasses
import functools
import pathlib
import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from more4d_jax.models import strag, video_vae, vism
from more4d_jax.models.encoders import motion
from more4d_jax.sampling import (
  denoising,
  networks,
  sample_vism,
  sampler_options,
)
from tests.parity.adapters import clip, stated, t5, vae_weights, wan_weights

_SAMPLERS = {"flow": "euler", "unipc": "unipc", "dpm": "dpm++"}
_last, _first = wan_weights.channels_last, wan_weights.channels_first
_decode = jax.jit(networks.decode_video)
_encode = jax.jit(networks.encode_video)


@dataclasses.dataclass(frozen=True)
class _Folder:
  """A folder, what is computed from it and its neighbours."""

  path: pathlib.Path
  info: dict[str, Any]
  io: dict[str, np.ndarray]

  @functools.cached_property
  def vae(self) -> networks.BoundModule:
    info, _, weights = wan_weights.read(self.path.parent / "vae")
    config = vae_weights.read_config(info)
    weights = vae_weights.select(weights, "model.")
    params = vae_weights.to_ours(weights, vae_weights.vae_names(config))
    stats = vae_weights.read_stats(info)
    return networks.BoundModule(params, video_vae.VideoVAE(config), stats)

  def transformer(self, name: str) -> tuple[dict, Any, Any, Any, dict]:
    """Constructor and configurations, and all parameters."""
    info, _, weights = wan_weights.read(self.path.parent / name)
    constructor = info["constructor"]
    features = self.io.get("in.features")
    dit = wan_weights.dit_config(constructor, weights, features)
    variant = re.search(r"variant (\w+)", self.info["models"])[1]
    _, _, own = wan_weights.read(self.path.parent / "t5")
    text, text_params = t5.load(own, variant, shared=variant == "shared")
    info, _, own = wan_weights.read(self.path.parent / "clip")
    image, image_params = clip.load(own, info["constructor"])
    params = {
      "dit": wan_weights.dit_params(weights, dit),
      "text_encoder": text_params,
      "image_encoder": image_params,
    }
    return constructor, dit, text, image, params

  def tokens(self, name: str) -> jax.Array:
    """A prompt's tokens, padded."""
    found = self.io[f"in.{name}"]
    length = self.info["call"]["max_sequence_length"]
    padded = np.pad(found, (0, length - len(found)))
    return jnp.asarray(padded[None], jnp.int32)

  def sampler(self, case: str, scale: float) -> sampler_options.SamplerConfig:
    """How "<stage>.<name>" is sampled, by its name and its description."""
    call, name = self.info["call"], case.partition(".")[2]
    kind = _SAMPLERS.get(name.partition("_")[0], "euler")
    # The original's Euler sampler does not hear of the argument.
    shift = "scheduler_shift" if kind == "euler" else "shift_argument"
    skip = 0.0
    if name.endswith("cfg_skip"):
      text = self.info["cases"][case]
      skip, _ = stated.numbers(r"enable_cfg_skip\(#, #\)", text)
    if given := re.search(r"guidance(\d+)$", name):
      scale = float(given[1])
    return sampler_options.SamplerConfig(
      num_steps=call["num_inference_steps"],
      guidance_scale=scale,
      shift=call[shift],
      sampler=kind,
      schedule="compat",
      cfg_skip=skip,
    )

  def results(
    self, case: str, steps: list[np.ndarray], finish: Callable
  ) -> dict[str, np.ndarray]:
    """Latents after each step, and the video."""
    video = _decode(self.vae, steps[-1])
    return {
      f"out.{case}.latents": np.moveaxis(np.stack(steps), -1, 2),
      f"out.{case}.video": _first(finish(video)),
    }


def _draw(*arguments: Any) -> list[np.ndarray]:
  """The latents after each step."""
  steps = []
  denoising.draw(
    *arguments, after_step=lambda _, latents: steps.append(np.array(latents))
  )
  return steps


def _control(folder: _Folder, cases: list[str]) -> dict[str, np.ndarray]:
  """The trajectory generator's loop."""
  io, call = folder.io, folder.info["call"]
  constructor, dit, text, image, params = folder.transformer("transformer4d")
  stand_in = motion.MotionEncoderConfig(width=dit.motion_width)
  config = strag.STraGConfig(dit, text, stand_in, image)
  model = networks.BoundModule(params, strag.STraG(config))
  picture = _last(io["in.ref_image"])[:, 0]
  still = _last(io["in.depth_image"])[:, 0]
  frames = io["in.control_video"].shape[2]
  grey = np.broadcast_to(io["in.clip_image_rgb"] / 255, picture.shape)
  prompt, negative = (
    model(folder.tokens(name), method="text_context")
    for name in ("prompt_ids", "negative_ids")
  )
  conditions = strag.STraGConditions(
    text_context=prompt,
    control=_encode(folder.vae, _last(io["in.control_video"]) * 2 - 1),
    depth=networks.encode_stills(folder.vae, [jnp.asarray(still)], frames)[0],
    reference=_encode(folder.vae, picture[:, None] * 2 - 1)[:, 0],
    image_context=networks.image_context(
      model, jnp.asarray(grey, jnp.float32), "picture"
    ),
  )
  name = "cls_features" if constructor["use_cls_token"] else "features"
  noise = jnp.asarray(_last(io["in.latents"]))
  out = {}
  for case in cases:
    scale = call["control_guidance_scale"]
    sampler = folder.sampler(f"control.{case}", scale)
    halves = [
      conditions.replace(text_context=context) for context in (negative, prompt)
    ]
    if case.endswith("first_frame"):
      features = np.split(io[f"in.{name}"], 2)
      halves = [
        half.replace(motion_features=rows)
        for half, rows in zip(halves, features)
      ]
    drawn = _draw(model, halves[1], halves[0], noise, sampler)
    unit = case.endswith("numpy")
    finish = (lambda v: v) if unit else (lambda v: v * 2 - 1)
    out |= folder.results(f"control.{case}", drawn, finish)
  return out


def _inpaint(folder: _Folder, cases: list[str]) -> dict[str, np.ndarray]:
  """The view completion's loop."""
  io, call = folder.io, folder.info["call"]
  _, dit, text, image, params = folder.transformer("transformer3d_inp")
  config = vism.ViSMConfig(dit, text, image)
  model = networks.BoundModule(params, vism.ViSM(config))
  prompt, context = (
    model(folder.tokens(name), method="text_context")
    for name in ("prompt_ids", "negative_ids")
  )
  noise = jnp.asarray(_last(io["in.latents"]))
  out = {}
  for case in cases:
    mask = io[
      "in.inpaint.soft_mask" if case.endswith("soft_mask") else "in.mask_video"
    ]
    full = case.endswith("full_mask")
    holes = np.ones_like(mask, bool) if full else mask >= 0.5
    video = _last(io["in.video"])
    shown = case.endswith("clip_image")
    picture = np.zeros((1, *video.shape[2:]), np.float32)
    if shown:
      picture = io["in.inpaint.clip_image"][None] / np.float32(255)
    choices = sample_vism.ViSMChoices(
      image_context="picture" if shown else "zeros",
      holes="rendered" if case.endswith("all_mask") else "grey",
    )
    kept, latents = sample_vism.encode_latents(
      folder.vae, jnp.asarray(video), jnp.asarray(~holes[:, 0]), choices
    )
    conditions = vism.ViSMConditions(
      text_context=prompt,
      mask=kept,
      masked=latents,
      image_context=networks.image_context(
        model, jnp.asarray(picture), choices.image_context
      ),
    )
    negative = conditions.replace(text_context=context)
    scale = call["inpaint_guidance_scale"]
    sampler = folder.sampler(f"inpaint.{case}", scale)
    drawn = _draw(model, conditions, negative, noise, sampler)
    out |= folder.results(f"inpaint.{case}", drawn, lambda v: v)
  return out


def run(folder: pathlib.Path) -> dict[str, np.ndarray]:
  """Every required key of the folder."""
  info, io, _ = wan_weights.read(folder)
  loaded = _Folder(folder, info, io)
  out = {}
  for stage, function in (("control", _control), ("inpaint", _inpaint)):
    cases = re.findall(rf"out\.{stage}\.(\w+)\.latents", " ".join(io))
    if cases:
      out |= function(loaded, cases)
  return out
