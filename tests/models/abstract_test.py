"""Where a mesh has parameters, and what stands beside int8 kernels."""

import jax
import pytest

from more4d_jax import partitioning
from more4d_jax.models import abstract, quantised, strag, variants
from more4d_jax.name_maps import matching

_FC1 = "dit/blocks/ffn/fc1"


@pytest.fixture(scope="module")
def boxed():
  module = strag.STraG(variants.get("nano").strag)
  return abstract.boxed_shapes("strag", module)


def test_everything_beside_a_kernel_lies_as_its_axes_do(boxed):
  config = partitioning.MeshConfig(1, 2, 2, 2)
  mesh = partitioning.make_mesh(config, jax.devices())
  expected = matching.flatten(
    partitioning.shardings(mesh, quantised.shapes(boxed))
  )
  shapes = matching.flatten(partitioning.unbox(quantised.shapes(boxed)))
  flat = matching.flatten(boxed)
  for path, leaf in shapes.items():
    found = abstract.sharding(path, leaf.shape, flat, mesh)
    assert found == expected[path], path
  for leaf, shape, spec in (
    ("kernel", (2, 64, 128), (None, "fsdp", "tensor")),
    ("kernel_scale", (2, 128), (None, "tensor")),
    ("down", (2, 64, 4), (None, "fsdp")),
    ("up", (2, 4, 128), (None, None, "tensor")),
  ):
    found = abstract.sharding(f"{_FC1}/{leaf}", shape, flat, mesh)
    assert tuple(found.spec) == spec


def test_int8_holds_the_matrices_of_14b():
  module = strag.STraG(variants.get("14b").strag)
  shapes = quantised.shapes(abstract.boxed_shapes("strag", module))
  flat = matching.flatten(partitioning.unbox(shapes))
  width, ffn, motion, layers = 5120, 13824, 768, 40
  # Self-attention, cross-attention with text and picture, feed-forward, and
  # the projections of two MAdaNorms.
  layer = (4 + 6) * width**2 + 2 * width * ffn + 2 * motion * 2 * width
  text = 24 * (4 * 4096**2 + 3 * 4096 * 10240)
  for part, count in (("dit/", layers * layer), ("text_encoder/", text)):
    eight = (
      leaf.size
      for path, leaf in flat.items()
      if path.startswith(part) and leaf.dtype == quantised.DTYPE
    )
    assert sum(eight) == count
