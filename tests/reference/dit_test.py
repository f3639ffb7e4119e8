"""Our transformer against that of diffusers, outputs and gradients."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("torch", reason="needs PyTorch: make reference")
diffusers = pytest.importorskip(
  "diffusers", reason="needs diffusers: make reference"
)

import torch

from more4d_jax.models import backbone
from more4d_jax.name_maps import dit, matching
from tests.reference import agreement

pytestmark = pytest.mark.torch

# Heads, their width, layers, latent grid, batch, other constructor arguments.
_SIZES = {
  "text to video": (2, 12, 2, (2, 4, 6), 2, {}),
  "one head": (1, 32, 1, (3, 2, 4), 1, {"in_channels": 36, "freq_dim": 64}),
  "image features": (
    3,
    16,
    3,
    (1, 6, 2),
    2,
    {"image_dim": 20, "added_kv_proj_dim": 48},
  ),
}
_TEXT = 24


def _theirs(name):
  heads, head_width, layers, _, _, more = _SIZES[name]
  return agreement.redraw(
    diffusers.WanTransformer3DModel(
      num_attention_heads=heads,
      attention_head_dim=head_width,
      num_layers=layers,
      ffn_dim=2 * heads * head_width,
      text_dim=_TEXT,
      **{"freq_dim": 32, **more},
    )
  )


def _inputs(name, channels, image_width):
  rng = np.random.default_rng(0)
  _, _, _, grid, batch, _ = _SIZES[name]
  draw = lambda *shape: rng.normal(size=shape).astype(np.float32)  # noqa: E731
  return {
    "latents": draw(batch, *grid, channels),
    "timestep": np.array([731.0, 16.0], np.float32)[:batch],
    "text_context": draw(batch, 512, _TEXT),
    "image_context": image_width and draw(batch, 257, image_width),
  }


def _run_theirs(model, inputs, weight):
  """Returns the output and the gradients of its weighted sum."""
  image = inputs["image_context"]
  output = model(
    torch.from_numpy(np.moveaxis(inputs["latents"], -1, 1).copy()),
    torch.from_numpy(inputs["timestep"]),
    torch.from_numpy(inputs["text_context"]),
    encoder_hidden_states_image=image
    if image is None
    else torch.from_numpy(image),
    return_dict=False,
  )[0]
  (
    output * torch.from_numpy(np.moveaxis(weight, -1, 1).copy())
  ).sum().backward()
  return np.moveaxis(output.detach().numpy(), 1, -1)


@pytest.mark.parametrize("name", _SIZES)
def test_output_and_gradients(name):
  theirs = _theirs(name)
  weights = agreement.weights(theirs)
  found = matching.match(dit.DIFFUSERS, matching.shapes_of(weights))
  config = dit.config(found, dit.Stated(num_heads=_SIZES[name][0]))
  found = found.with_head_dim(config.layer.head_dim)
  model = backbone.WanDiT(config)
  inputs = _inputs(name, config.in_channels, config.image_width)
  rng = np.random.default_rng(1)
  shape = (*inputs["latents"].shape[:-1], config.out_channels)
  weight = rng.normal(size=shape).astype(np.float32)

  @jax.jit
  @functools.partial(jax.value_and_grad, has_aux=True)
  def run(params, inputs):
    output = model.apply({"params": params}, **inputs)
    return jnp.sum(output * weight), output

  (_, output), grads = run(matching.to_params(found, weights), inputs)
  expected = _run_theirs(theirs, inputs, weight)
  assert agreement.error(output, expected) < agreement.BOUND
  ours = matching.to_weights(found, grads)
  checked = 0
  for key, value in theirs.named_parameters():
    off = agreement.error(ours[key], value.grad)
    assert off < agreement.BOUND, f"{key}: {off}"
    checked += 1
  assert checked == len(weights)
