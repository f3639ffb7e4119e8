"""What is read of compiled programs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from more4d_jax.planning import collectives

_TEXT = """HloModule step

%body (p: (s32[], f32[8])) -> (s32[], f32[8]) {
  %g = f32[8]{0} get-tuple-element(%p), index=1
  ROOT %r = f32[8]{0} all-reduce(%g), replica_groups=[4,2]<=[8], to_apply=%add
}

%add (a: f32[], b: f32[]) -> f32[] {
  ROOT %s = f32[] add(%a, %b)
}

ENTRY %main (x: bf16[4,6]) -> f32[8] {
  %start = ((bf16[4,6]{1,0}), bf16[8,6]{1,0}) all-gather-start(%x)
  %done = bf16[8,6]{1,0} all-gather-done(%start)
  %two = (f32[2]{0}, pred[3]{0}) all-to-all(%a, %b), replica_groups={{0,1}}
  %part = f32[2,2]{1,0} reduce-scatter(%y), replica_groups={{0,1,2,3},{4,5}}
  %more = f32[2]{0} reduce-scatter(%y), replica_groups=mesh['a'=2,'b'=4] {'b'}
  %w = (s32[], f32[8]{0}) while(%t), body=%body, known_trip_count={"n":"40"}
  ROOT %r = f32[8]{0} get-tuple-element(%w), index=1
}
"""


def test_kinds_loops_and_bytes():
  assert collectives.read(_TEXT) == {
    "all-gather": collectives.Traffic(1, 2 * 48),
    "all-reduce": collectives.Traffic(40, 40 * 4 * 8),
    "reduce-scatter": collectives.Traffic(2, 4 * (4 * 4 + 2 * 4)),
    "all-to-all": collectives.Traffic(1, 4 * 2 + 3),
  }
  assert collectives.total(collectives.read(_TEXT)) == 96 + 1280 + 96 + 11


def test_a_compiled_program():
  mesh = Mesh(np.array(jax.devices()[:4]), ("a",))
  divided = NamedSharding(mesh, PartitionSpec("a"))

  def repeated(x, w):
    step = lambda x, _: (jnp.sin(x @ w), None)  # noqa: E731
    return jax.lax.scan(step, x, length=5)[0]

  x = jax.ShapeDtypeStruct((8, 16), jnp.float32, sharding=divided)
  w = jax.ShapeDtypeStruct((16, 16), jnp.float32, sharding=divided)
  whole = NamedSharding(mesh, PartitionSpec())
  compiled = jax.jit(repeated, out_shardings=whole).lower(x, w).compile()
  found = collectives.read(compiled.as_text())
  gathered = found["all-gather"]
  # The weights once or in each step, the result once.
  weights, result = 4 * 16 * 16, 4 * 8 * 16
  assert gathered.bytes - result in (weights, 5 * weights)


@pytest.mark.parametrize("text", ["", "HloModule nothing\n"])
def test_nothing(text):
  assert collectives.read(text) == {}
