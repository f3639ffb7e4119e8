"""`more4d generate --keep`: the files lead from one to the next."""

import hashlib
import json

import jax.numpy as jnp
import numpy as np
import PIL.Image
import pytest

from more4d_jax import pipeline
from more4d_jax import scene as scene_lib
from more4d_jax.cli import main
from more4d_jax.sampling import sample_strag

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def made(nano_checkpoint, tmp_path_factory):
  """Folder of a scene that was made with all that stands before it.

  Others were made with it.
  """
  folder = tmp_path_factory.mktemp("keep")
  album = folder / "album"
  album.mkdir()
  for seed, name in enumerate("apz"):
    generator = np.random.default_rng(seed)
    pixels = generator.integers(0, 256, (48, 72, 3), np.uint8)
    PIL.Image.fromarray(pixels).save(album / f"{name}.png")
  status = main.main(
    [
      "generate", "--image", str(album), "--keep",
      "--checkpoint", str(nano_checkpoint), "--prompt", "left",
      "--negative-prompt", "up", "--out", str(folder / "out"), "--steps", "1",
      "--camera", "static", "left", "--holes", "vism",
      "--scene-size", "model",
    ]
  )  # fmt: skip
  assert status == 0
  return folder / "out" / "p"


def _load(made, name):
  with np.load(made / "intermediate" / f"{name}.npz") as archive:
    return dict(archive)


def _digest(words):
  return hashlib.sha256(words.encode()).hexdigest()[:16]


def test_every_file_has_a_name_that_the_guide_explains(made):
  found = {path.name for path in (made / "intermediate").iterdir()}
  texts = {
    f"text_{kind}_{_digest(words)}.npz"
    for kind in ("strag", "vism")
    for words in ("left", "up")
  }
  assert found == texts | {
    "picture_model.png", "depth_model.npz", "latents_strag.npz",
    "latents_vism_static.npz", "latents_vism_left.npz",
    "rendering_static.npz", "rendering_left.npz",
  }  # fmt: skip


def test_the_kept_latents_are_those_of_the_scene(made, nano_checkpoint):
  kept, depth = _load(made, "latents_strag"), _load(made, "depth_model")
  loaded = pipeline.load(nano_checkpoint)
  height, width = depth["depth"].shape
  fx, fy, cx, cy = depth["intrinsics"]
  columns, rows = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
  z = depth["depth"]
  points = np.stack([(columns - cx) / fx * z, (rows - cy) / fy * z, z], -1)
  tracks = sample_strag.decode_tracks(
    loaded.networks.bound("motion_vae"),
    jnp.asarray(kept["latents"][None]),
    jnp.asarray(points[None], jnp.float32),
    jnp.asarray(depth["intrinsics"][None]),
    loaded.networks.normalisation,
  )
  scene = scene_lib.Scene.load(made / "scene.npz")
  # The file holds float16.
  np.testing.assert_allclose(tracks[0], scene.tracks, rtol=1e-3, atol=1e-3)


def test_the_kept_texts_are_what_the_encoder_says(made, nano_checkpoint):
  loaded = pipeline.load(nano_checkpoint)
  model = loaded.networks.bound("strag")
  for words in ("left", "up"):
    tokens = jnp.asarray(loaded.networks.tokens("strag", [words]))
    features = model(tokens, method="text_context")[0]
    kept = _load(made, f"text_strag_{_digest(words)}")["features"]
    np.testing.assert_allclose(kept, features, atol=1e-5)


def test_the_kept_renderings_are_those_of_the_films(made):
  summary = json.loads((made / "summary.json").read_text())
  for name in ("static", "left"):
    kept = _load(made, f"rendering_{name}")
    assert kept["coverage"].mean() == pytest.approx(summary["coverage"][name])
    assert kept["colours"].shape == (*kept["coverage"].shape, 3)
    latents = _load(made, f"latents_vism_{name}")
    assert latents["latents"].shape == latents["noise"].shape
    assert latents["masked"].shape == latents["latents"].shape
  one, other = (_load(made, f"latents_vism_{n}") for n in ("static", "left"))
  np.testing.assert_array_equal(one["noise"], other["noise"])
  assert (one["latents"] != other["latents"]).any()
