"""Parts of networks come to devices and go."""

import dataclasses
import gc
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from more4d_jax import checkpoint_networks, errors, partitioning, registry
from more4d_jax.checkpoints import residency, store, stored_arrays
from more4d_jax.lora import dialects
from more4d_jax.lora import requests as lora_requests
from more4d_jax.models import lora, variants
from more4d_jax.name_maps import matching
from tests import nano_bundle


@pytest.fixture(scope="module", name="found")
def _found():
  """Two networks that share their text encoder."""
  variant = variants.get("nano")
  strag, vism = (
    store.Network(
      kind,
      getattr(variant, kind),
      nano_bundle.params_of(variant, kind),
      nano_bundle.metadata_of(variant, kind),
    )
    for kind in ("strag", "vism")
  )
  text = strag.params["text_encoder"]
  params = {**vism.params, "text_encoder": text}
  return {"strag": strag, "vism": dataclasses.replace(vism, params=params)}


def _bytes(tree):
  return sum(leaf.nbytes for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize("kind", list(registry.NETWORKS))
@pytest.mark.parametrize("size", ["nano", "14b"])
def test_every_parameter_is_in_one_part(kind, size):
  row = registry.NETWORKS[kind]
  boxed = nano_bundle.shapes_of(variants.get(size), kind)
  shapes = partitioning.unbox(boxed)
  parts = {row.part_of(path) for path in matching.flatten(shapes)}
  assert parts <= set(row.parts)
  starts = [start for part in row.parts.values() for start in part]
  for path in matching.flatten(shapes):
    assert sum(f"{path}/".startswith(f"{s}/") for s in starts) == 1


def test_a_part_alone_computes_what_the_network_does(found):
  networks = checkpoint_networks.CheckpointNetworks(found)
  tokens = jnp.asarray(networks.tokens("vism", ["a ball rolls"]))
  part = networks.bound("vism", ["text_encoder"])
  assert set(part.params) == {"text_encoder"}
  ours = part(tokens, method="text_context")
  networks.release()
  whole = networks.bound("vism")
  np.testing.assert_array_equal(ours, whole(tokens, method="text_context"))


def test_what_networks_share_is_placed_once_and_stays_while_one_needs_it(found):
  held = residency.Residency(found)
  strag = held.params("strag", ["text_encoder"])
  vism = held.params("vism", ["text_encoder", "transformer"])
  ours, theirs = (p["text_encoder"]["embedding"] for p in (strag, vism))
  assert ours is theirs
  text = _bytes(found["strag"].params["text_encoder"])
  dit = _bytes(found["vism"].params["dit"])
  assert held.resident == {
    ("strag", "text_encoder"): text,
    ("vism", "text_encoder"): text,
    ("vism", "transformer"): dit,
  }
  held.release("strag")
  assert held.params("vism", ["text_encoder"])["text_encoder"]["embedding"] is (
    ours
  )
  held.release("vism", ["transformer"])
  assert held.resident == {("vism", "text_encoder"): text}
  held.release()
  assert held.resident == {}


def test_released_arrays_leave_the_device(found):
  held = residency.Residency(found)
  gc.collect()  # Else rubbish of other tests leaves meanwhile.
  before = {id(a) for a in jax.live_arrays()}
  params = held.params("strag", ["transformer"])
  placed = [a for a in jax.live_arrays() if id(a) not in before]
  assert len(placed) == len(jax.tree.leaves(params))
  del placed, params
  held.release("strag", ["text_encoder"])
  assert len(jax.live_arrays()) > len(before)
  held.release("strag", ["transformer"])
  assert {id(a) for a in jax.live_arrays()} <= before


def test_parameters_lie_where_they_are_placed(found):
  mesh = partitioning.make_mesh(partitioning.MeshConfig(fsdp=8))

  def place(path, shape, dtype):
    assert dtype == np.float32
    divided = path.startswith("dit/blocks") and shape[-1] % 8 == 0
    axes = [None] * (len(shape) - 1) + ["fsdp"] if divided else []
    return NamedSharding(mesh, PartitionSpec(*axes))

  held = residency.Residency(found)
  whole = held.params("vism", ["transformer"])
  params = held.params("vism", ["transformer"], place)
  jax.tree.map(np.testing.assert_array_equal, params, whole)
  kernel = params["dit"]["blocks"]["ffn"]["fc1"]["kernel"]
  assert kernel.sharding.spec == PartitionSpec(None, None, "fsdp")
  assert params["dit"]["head"]["linear"]["kernel"].is_fully_replicated


def test_an_unknown_part_is_named(found):
  with pytest.raises(ValueError, match="has the parts text_encoder, image"):
    residency.Residency(found).params("vism", ["decoder"])


@pytest.fixture(name="reads")
def _reads(monkeypatch):
  """Shapes of what is read of stored arrays."""
  read, shapes = stored_arrays.StoredArray.__getitem__, []

  def spy(array, index):
    found = read(array, index)
    shapes.append(found.shape)
    return found

  monkeypatch.setattr(stored_arrays.StoredArray, "__getitem__", spy)
  return shapes


def test_opening_reads_nothing_and_placing_a_part_only_that(
  nano_checkpoint, reads
):
  asked = [lora_requests.Request("vism", "x", _random_lora(), 0.5)]
  networks = checkpoint_networks.CheckpointNetworks(
    lora_requests.open_networks(nano_checkpoint, asked, "bfloat16")
  )
  assert networks.size("vism") and networks.sampler("vism")
  assert networks.normalisation
  assert not reads
  text = networks.bound("strag", ["text_encoder"]).params
  placed = [tuple(leaf.shape) for leaf in jax.tree.leaves(text)]
  # A cast array reads the stored one.
  assert sorted(reads) == sorted(2 * placed)
  del text, reads[:]
  networks.bound("strag", ["text_encoder"])
  assert not reads
  networks.release("strag")
  networks.bound("strag", ["text_encoder"])
  assert sorted(reads) == sorted(2 * placed)


def _random_lora():
  params = nano_bundle.params_of(variants.get("nano"), "vism")["dit"]
  rng = np.random.default_rng(0)
  modules = {
    (path, layer): lora.LowRank(
      rng.normal(size=(kernel.shape[-2], 2)).astype(np.float32),
      rng.normal(size=(2, kernel.shape[-1])).astype(np.float32),
      1.0,
    )
    for path, kernel in lora.linear_maps(params).items()
    for layer in (range(kernel.shape[0]) if kernel.ndim == 3 else (None,))
  }
  return dialects.Found(lora.LoRA("random", modules), "kohya", 0)


def _as_orbax_reads(directory):
  """The stored tree, by Orbax alone."""
  with ocp.PyTreeCheckpointer() as checkpointer:
    return checkpointer.restore(directory)


@pytest.mark.parametrize("kind", list(registry.NETWORKS))
def test_what_is_placed_is_what_is_stored(nano_checkpoint, kind):
  networks = store.open_bundle(nano_checkpoint)
  placed = residency.Residency(networks).params(kind)
  stored = _as_orbax_reads(nano_checkpoint / kind / "params")
  jax.tree.map(np.testing.assert_array_equal, placed, stored)
  loaded = store.load_network(nano_checkpoint / kind).params
  jax.tree.map(np.testing.assert_array_equal, loaded, stored)


def test_networks_that_name_the_same_part_share_its_arrays(
  nano_checkpoint, tmp_path, reads
):
  stored = store.open_bundle(nano_checkpoint)
  config = stored["vism"].config
  for name, part, own in (
    ("text", stored["vism"].params["text_encoder"], config.text),
    ("dit", stored["vism"].params["dit"], config.dit),
  ):
    store.save_network(tmp_path / name, part, own, {"identity": name})
  metadata = stored["vism"].metadata
  for name in ("one", "two"):
    (tmp_path / name).mkdir()
    parts = {"text_encoder": "text", "dit": "dit"}
    store.write_header(tmp_path / name, config, metadata, parts=parts)
  shared = {}
  one, two = (store.open_network(tmp_path / n, shared) for n in ("one", "two"))
  held = residency.Residency({"vism": one, "strag": two})
  del reads[:]
  first = held.params("vism", ["text_encoder"])
  count = len(reads)
  second = held.params("strag", ["text_encoder"])
  assert count and len(reads) == count
  for ours, theirs in zip(jax.tree.leaves(first), jax.tree.leaves(second)):
    assert ours is theirs


def test_lost_weights_are_one_clear_line_where_they_are_read(
  nano_checkpoint, tmp_path
):
  bundle = tmp_path / "bundle"
  shutil.copytree(nano_checkpoint, bundle)
  held = residency.Residency(store.open_bundle(bundle))
  for path in (bundle / "vism" / "params").rglob("d/*"):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
  held.params("strag", ["text_encoder"])
  with pytest.raises(errors.UserError, match=r"weights in .*vism") as caught:
    held.params("vism", ["transformer"])
  assert "\n" not in str(caught.value)
