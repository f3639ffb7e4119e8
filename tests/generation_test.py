"""Both samplers with the networks of a nano bundle, stage by stage."""

import dataclasses
import gc
import pathlib

import jax
import numpy as np
import pytest

from more4d_jax import batches, errors, generation, partitioning, pipeline
from more4d_jax.checkpoints import store
from more4d_jax.name_maps import matching

_GOLDEN = np.load(pathlib.Path(__file__).parent / "golden" / "sampling.npz")
_CASES = {
  "euler": {"num_steps": 4},
  "unipc_skip": {"num_steps": 6, "sampler": "unipc", "cfg_skip": 0.5},
  "dpm_cache": {
    "num_steps": 6, "sampler": "dpm++", "cfg_skip": 0.34, "teacache": 1.0,
    "teacache_start": 2,
  },
  "alone": {"num_steps": 3, "guidance_scale": 1.0},
}  # fmt: skip


def _batches():
  """Two pictures and two renderings."""
  rng = np.random.default_rng(11)
  pictures = batches.PictureBatch(
    rng.integers(0, 256, (2, 32, 48, 3), np.uint8),
    rng.uniform(1, 4, (2, 32, 48)).astype(np.float32),
    np.asarray([[40.0, 40.0, 24.0, 16.0]] * 2, np.float32),
    ["a ball rolls to the left", "a cube"],
    noise_keys=[(5, 3), (5, 4)],
  )
  renderings = batches.RenderingBatch(
    rng.integers(0, 256, (2, 5, 32, 48, 3), np.uint8),
    rng.random((2, 5, 32, 48)) > 0.3,
    pictures.images,
    pictures.prompts,
    noise_keys=[(7, 2), (7, 3)],
  )
  return pictures, renderings


def _generator(checkpoint, case="euler", **options):
  settings = {"guidance_scale": 3.0, **_CASES[case]}
  options = generation.Options(**options)
  return pipeline.load(checkpoint, settings, options=options).generator


@pytest.mark.slow
@pytest.mark.parametrize("case", _CASES)
def test_numbers_are_those_of_one_program(case, nano_checkpoint):
  """`golden/sampling.npz`: the chain as one program with a loop inside."""
  pictures, renderings = _batches()
  generator = _generator(nano_checkpoint, case)
  (drawn,) = generator.tracks([pictures])
  known = _GOLDEN[f"{case}_tracks"]
  # Differently fused and differently optimised programs, in float32.
  atol = 1e-5 * np.abs(known).max()
  found = drawn.tracks[:, :, 3::8, 3::8]
  np.testing.assert_allclose(found, known, rtol=0, atol=atol)
  np.testing.assert_array_equal(drawn.computed, _GOLDEN[f"{case}_computed"])
  (found,) = generator.videos([renderings])
  gap = found.videos[:, :, 3::8, 3::8].astype(int) - _GOLDEN[f"{case}_video"]
  assert np.abs(gap).max() <= 1  # Where rounding to 8 bits is close.


_MESHES = {
  "data": {"data": 8},
  "fsdp": {"fsdp": 8},
  "all": {"fsdp": 2, "context": 2, "tensor": 2},
  "auto": "auto",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", _MESHES)
def test_numbers_on_eight_devices_are_those_of_one(name, nano_checkpoint):
  wanted = _MESHES[name]
  if wanted != "auto":
    wanted = partitioning.MeshConfig(**wanted)
  generator = _generator(nano_checkpoint, mesh=wanted)
  assert generator.run.mesh.size == 8
  pictures, renderings = _batches()
  with generator.run.lend("strag", ["transformer"]) as model:
    kernel = model.params["dit"]["blocks"]["ffn"]["fc1"]["kernel"]
    assert len(kernel.sharding.device_set) == 8
    assert kernel.is_fully_replicated == (name == "data")
  known = _GOLDEN["euler_tracks"]
  atol = 1e-5 * np.abs(known).max()
  (drawn,) = generator.tracks([pictures])
  found = drawn.tracks[:, :, 3::8, 3::8]
  np.testing.assert_allclose(found, known, rtol=0, atol=atol)
  (found,) = generator.videos([renderings])
  gap = found.videos[:, :, 3::8, 3::8].astype(int) - _GOLDEN["euler_video"]
  assert np.abs(gap).max() <= 1


@pytest.mark.slow
@pytest.mark.parametrize("mesh", [None, {"fsdp": 2, "tensor": 4}])
def test_layers_from_the_hosts_memory_change_nothing(mesh, nano_checkpoint):
  case = "euler" if mesh else "dpm_cache"
  sizes = partitioning.MeshConfig(**mesh) if mesh else None
  generator = _generator(nano_checkpoint, case, mesh=sizes, offload=True)
  with generator.run.lend("strag", ["transformer"]) as model:
    for path, leaf in matching.flatten(model.params).items():
      waits = path.startswith("dit/blocks/")
      kind = partitioning.HOST_MEMORY if waits else "device"
      assert leaf.sharding.memory_kind == kind, path
  pictures, renderings = _batches()
  known = _GOLDEN[f"{case}_tracks"]
  atol = 1e-5 * np.abs(known).max()
  (drawn,) = generator.tracks([pictures])
  found = drawn.tracks[:, :, 3::8, 3::8]
  np.testing.assert_allclose(found, known, rtol=0, atol=atol)
  (completed,) = generator.videos([renderings])
  gap = (
    completed.videos[:, :, 3::8, 3::8].astype(int) - _GOLDEN[f"{case}_video"]
  )
  assert np.abs(gap).max() <= 1


@pytest.mark.slow
def test_what_is_rendered_may_be_kept_with_a_soft_seam(nano_checkpoint):
  _, renderings = _batches()
  renderings.coverage[...] = True
  renderings.coverage[..., 20:] = False
  alone = {"num_steps": 1, "guidance_scale": 1.0}
  loaded = pipeline.load(nano_checkpoint, alone)
  (drawn,) = loaded.generator.videos([renderings])
  loaded = pipeline.load(nano_checkpoint, {**alone, "keep_rendered": True})
  (kept,) = loaded.generator.videos([renderings])
  # Within four pixels beside a hole one passes into the other.
  np.testing.assert_array_equal(
    kept.videos[..., :16, :], renderings.videos[..., :16, :]
  )
  np.testing.assert_array_equal(
    kept.videos[..., 20:, :], drawn.videos[..., 20:, :]
  )
  seam = kept.videos[..., 19, :].astype(int)
  low = np.minimum(renderings.videos, drawn.videos)[..., 19, :]
  high = np.maximum(renderings.videos, drawn.videos)[..., 19, :]
  assert ((low <= seam) & (seam <= high)).all()
  assert (seam != renderings.videos[..., 19, :]).any()
  assert (seam != drawn.videos[..., 19, :]).any()


@pytest.mark.slow
def test_networks_that_share_a_text_encoder_ask_it_once(nano_checkpoint):
  found = dict(store.open_bundle(nano_checkpoint))
  shared = found["strag"].params["text_encoder"]
  params = {**found["vism"].params, "text_encoder": shared}
  found["vism"] = dataclasses.replace(found["vism"], params=params)
  told = []
  options = generation.Options(report=lambda what, *_: told.append(what))
  settings = {"num_steps": 1, "guidance_scale": 3.0}
  loaded = pipeline.Pipeline(found, overrides=settings, options=options)
  assert loaded.networks.text_encoder_of("vism") == "strag"
  pictures, renderings = _batches()
  list(loaded.generator.tracks([pictures]))
  assert told.count("text") == 4  # Two prompts, an empty one, the end.
  (one,) = loaded.generator.videos([renderings])
  assert told.count("text") == 4
  # The same values that are stored apart are asked apart.
  placed = loaded.networks.bound("strag", ["text_encoder"]).params
  copied = jax.tree.map(np.asarray, placed["text_encoder"])
  params = {**params, "text_encoder": copied}
  found["vism"] = dataclasses.replace(found["vism"], params=params)
  apart = pipeline.Pipeline(found, overrides=settings)
  assert apart.networks.text_encoder_of("vism") == "vism"
  (other,) = apart.generator.videos([renderings])
  np.testing.assert_array_equal(one.videos, other.videos)


def test_layers_are_kept_once_in_the_hosts_memory(nano_checkpoint):
  generator = _generator(nano_checkpoint, mesh="auto", offload=True)
  sizes = dict(generator.run.mesh.shape)
  assert sizes == {"data": 1, "fsdp": 2, "context": 1, "tensor": 4}
  for axis in ("data", "context"):
    mesh = partitioning.MeshConfig(**{axis: 2}, tensor=2)
    with pytest.raises(errors.UserError, match=f"found .*{axis}=2.*use auto"):
      _generator(nano_checkpoint, mesh=mesh, offload=True)


def test_a_mesh_without_its_devices(nano_checkpoint):
  for sizes in ({"fsdp": 16}, {"data": -1}):
    with pytest.raises(errors.UserError, match="at most 8 devices"):
      _generator(nano_checkpoint, mesh=partitioning.MeshConfig(**sizes))


def _sizes(params, *names):
  parts = [params.get(name, {}) for name in names]
  return sum(leaf.nbytes for leaf in jax.tree.leaves(parts))


@pytest.mark.slow
def test_each_stage_holds_what_it_needs_and_nothing_else(nano_checkpoint):
  live = {}

  def report(what, done, total):
    del done, total
    now = sum(array.nbytes for array in jax.live_arrays())
    live.setdefault(what, []).append(now)

  generator = _generator(nano_checkpoint, report=report)
  pictures, renderings = _batches()
  gc.collect()  # Else rubbish of other tests leaves meanwhile.
  before = sum(array.nbytes for array in jax.live_arrays())
  list(generator.tracks([pictures] * 2))
  stored = generator.networks.network
  strag, vism = stored("strag").params, stored("vism").params
  vae, motion = stored("video_vae").params, stored("motion_vae").params
  encoder = _sizes(vae, "encoder", "quant_conv")
  decoder = "decoder", "post_quant_conv"
  held = {
    "text": _sizes(strag, "text_encoder"),
    "features of pictures": _sizes(strag, "image_encoder", "motion_encoder"),
    "latents of pictures": encoder,
    "trajectories": _sizes(strag, "dit"),
    "decoding of trajectories": _sizes(motion["vae"], *decoder)
    + _sizes(motion, "trajectory_decoder"),
  }
  _check(live, held, before)
  live.clear()
  list(generator.videos([renderings] * 2))
  held = {
    "text": _sizes(vism, "text_encoder"),
    "features of pictures": _sizes(vism, "image_encoder"),
    "latents of renderings": encoder,
    "views": _sizes(vism, "dit"),
    "decoding of views": _sizes(vae, *decoder),
  }
  _check(live, held, before)
  assert sum(array.nbytes for array in jax.live_arrays()) <= before + _FEW


_FEW = 150_000  # Bytes of conditions, states and results of a nano batch.


def _check(live, held, before):
  assert set(live) == set(held)
  for what, size in held.items():
    print(f"{what}: {size} bytes of weights, live {live[what]}")
    for now in live[what]:
      assert now - before <= size + _FEW, what
    assert max(live[what]) - before >= size, what


@pytest.mark.slow
def test_the_same_batch_gives_the_same_bytes_and_texts_are_kept(
  nano_checkpoint,
):
  told = []
  generator = _generator(
    nano_checkpoint, report=lambda what, *_: told.append(what)
  )
  pictures, _ = _batches()
  (first,) = generator.tracks([pictures])
  assert told.count("text") == 4  # Two prompts, an empty one, the end.
  (again,) = generator.tracks([pictures])
  assert told.count("text") == 4
  assert first.tracks.tobytes() == again.tracks.tobytes()
  # The second picture's noise does not depend on where it stands.
  swapped = batches.PictureBatch(
    pictures.images[::-1],
    pictures.depths[::-1],
    pictures.intrinsics,
    pictures.prompts[::-1],
    pictures.noise_keys[::-1],
  )
  (other,) = generator.tracks([swapped])
  scale = np.abs(first.tracks).max()
  np.testing.assert_allclose(
    other.tracks[::-1], first.tracks, rtol=0, atol=1e-5 * scale
  )


def test_chunks_have_one_size_and_repeat_the_last():
  assert list(batches.chunks(5, 2)) == [([0, 1], 2), ([2, 3], 2), ([4, 4], 1)]
  assert list(batches.chunks(0, 2)) == []


def test_options_without_sense():
  with pytest.raises(errors.UserError, match="batch of at least 1"):
    generation.Options(batch=0)
  with pytest.raises(ValueError, match="halves to be one of batch, sequence"):
    generation.Options(halves="both")
