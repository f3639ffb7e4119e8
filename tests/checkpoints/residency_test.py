"""Parts of networks come to devices and go."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from more4d_jax import checkpoint_networks, partitioning, registry
from more4d_jax.checkpoints import residency, store
from more4d_jax.models import variants
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
