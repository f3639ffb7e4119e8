"""Our frozen encoders against those of transformers."""

import jax
import numpy as np
import pytest

pytest.importorskip("torch", reason="needs PyTorch: make reference")
transformers = pytest.importorskip(
  "transformers", reason="needs transformers: make reference"
)

import torch

from more4d_jax.models.encoders import image, text
from more4d_jax.name_maps import image as image_names
from more4d_jax.name_maps import matching
from more4d_jax.name_maps import text as text_names
from tests.reference import agreement

pytestmark = pytest.mark.torch


# Vocabulary, width, heads, width of a head, feed-forward width, layers, tokens.
@pytest.mark.parametrize(
  "size",
  [
    (40, 24, 2, 12, 36, 1, 9),
    (64, 16, 4, 8, 20, 3, 33),
    (9, 32, 1, 6, 48, 2, 140),
  ],
)
def test_text_encoder(size, tmp_path):
  vocabulary, width, heads, head_width, ffn, layers, length = size
  theirs = agreement.redraw(
    transformers.UMT5EncoderModel(
      transformers.UMT5Config(
        vocab_size=vocabulary,
        d_model=width,
        num_heads=heads,
        d_kv=head_width,
        d_ff=ffn,
        num_layers=layers,
      )
    )
  )
  weights = agreement.saved(theirs, tmp_path)
  found = matching.match(text_names.TRANSFORMERS, matching.shapes_of(weights))
  model = text.TextEncoder(text_names.config(found, length))
  rng = np.random.default_rng(0)
  tokens = rng.integers(1, vocabulary, (2, length))
  mask = np.arange(length)[None] < np.array([[length], [length // 2]])
  with torch.no_grad():
    expected = theirs(
      torch.from_numpy(tokens), torch.from_numpy(mask.astype(np.int64))
    ).last_hidden_state
  variables = {"params": matching.to_params(found, weights)}
  output = jax.jit(lambda *args: model.apply(*args, method="encode"))(
    variables, tokens.astype(np.int32), mask
  )
  # Rows of padding are no result; ours are set to zero by the caller.
  kept = mask[..., None]
  assert agreement.error(output * kept, expected * kept) < agreement.BOUND


# Width, heads, layers, hidden width, patches a side, patch.
@pytest.mark.parametrize(
  "size", [(24, 2, 2, 40, 3, 8), (32, 4, 3, 64, 2, 14), (16, 1, 4, 16, 5, 4)]
)
def test_image_encoder(size, tmp_path):
  width, heads, layers, hidden, side, patch = size
  theirs = agreement.redraw(
    transformers.CLIPVisionModel(
      transformers.CLIPVisionConfig(
        hidden_size=width,
        num_attention_heads=heads,
        num_hidden_layers=layers,
        intermediate_size=hidden,
        image_size=side * patch,
        patch_size=patch,
        hidden_act="gelu",  # As the published tower of ViT-H/14.
      )
    )
  )
  weights = agreement.saved(theirs, tmp_path)
  found = matching.match(image_names.TRANSFORMERS, matching.shapes_of(weights))
  model = image.ImageEncoder(image_names.config(found, heads))
  rng = np.random.default_rng(0)
  pictures = rng.uniform(size=(2, side * patch, side * patch, 3))
  pictures = pictures.astype(np.float32)
  pixels = np.moveaxis((pictures - image.MEAN) / image.STD, -1, 1).copy()
  with torch.no_grad():
    states = theirs(torch.from_numpy(pixels), output_hidden_states=True)
  variables = {"params": matching.to_params(found, weights)}
  output = jax.jit(model.apply)(variables, pictures)
  assert agreement.error(output, states.hidden_states[-2]) < agreement.BOUND
