"""Memory of transformers and of umT5 in int8 and bfloat16, from shapes alone.

  python benchmarks/quantised.py                       bytes of weights
  python benchmarks/quantised.py --compile h200 v6e    peaks of compiled calls

One JSON line each. A call is a velocity at 49 x 368 x 512, of one sample or of
both halves of guidance as a batch, or the features of two captions. Compiling
needs `make test-aot`'s environment, and no accelerator; what does not fit is a
line with the compiler's own words. What GPUs before Hopper run is compiled for
an H200 with `--attention plain`.
"""

import argparse
import dataclasses
import itertools
import json
import os
import sys
import time
from typing import Any

from more4d_jax.planning import absent_devices

_TARGETS = {"h200": None, "v5e": "v5e:2x2", "v6e": "v6e:2x2"}
_GB = 1e9


@dataclasses.dataclass(frozen=True)
class Call:
  """A part of a network and how it is called.

  Attributes:
    part: boxed shapes of its parameters, as they are initialised.
    apply: takes parameters and inputs.
    inputs: shapes, of a batch of one.
  """

  part: Any
  apply: Any
  inputs: Any


def calls(size: str, attention: str) -> dict[str, Call]:
  """The parts of a size that int8 is for, by name."""
  import jax
  import jax.numpy as jnp

  from benchmarks.device import networks
  from more4d_jax import registry
  from more4d_jax.models import variants, vism
  from more4d_jax.models.encoders import text

  variant = variants.get(size)
  latents, given = jax.eval_shape(lambda: networks.conditions(variant, 1))
  seen = given.text_context, given.image_context
  grid = (1, *variant.latent_grid)
  float32 = lambda *shape: jax.ShapeDtypeStruct(shape, jnp.float32)  # noqa: E731
  rendering = vism.ViSMConditions(
    seen[0], float32(*grid, 4), float32(*grid, 16), seen[1]
  )
  found = {}
  for kind, conditions in (("strag", given), ("vism", rendering)):
    config = getattr(variant, kind)
    dit = dataclasses.replace(config.dit, attention=attention)
    config = dataclasses.replace(config, dit=dit)
    module = registry.NETWORKS[kind].module_class(config)
    found[f"{kind} {size}"] = _call(module, latents, float32(1), conditions)
  encoder = text.TextEncoder(variant.strag.text)
  tokens = jax.ShapeDtypeStruct((1, encoder.config.length), jnp.int32)
  found["umT5"] = _call(encoder, tokens)
  return found


def _call(module: Any, *inputs: Any) -> Call:
  import jax

  boxed = jax.eval_shape(module.init, jax.random.key(0), *inputs)["params"]

  def apply(params: Any, *inputs: Any) -> Any:
    return module.apply({"params": params}, *inputs)

  return Call(boxed, apply, inputs)


def held(call: Call, dtype: str) -> Any:
  """Shapes of the parameters, boxed, as `--dtype` has them."""
  import jax

  from more4d_jax.checkpoints import dtypes
  from more4d_jax.models import quantised

  rest = dtypes.STORED[dtypes.products(dtype)]
  boxed = jax.tree.map(
    lambda leaf: jax.ShapeDtypeStruct(leaf.shape, rest), call.part
  )
  return quantised.shapes(boxed) if dtype == dtypes.INT8 else boxed


def weights(call: Call, dtype: str) -> dict[str, Any]:
  """Bytes of the parameters, and the share that is int8."""
  import jax

  from more4d_jax import partitioning

  mesh = jax.sharding.AbstractMesh((1,) * 4, partitioning.MESH_AXES)
  tree = held(call, dtype)
  size = partitioning.bytes_per_device(mesh, tree)
  leaves = jax.tree.leaves(partitioning.unbox(tree))
  eight = sum(leaf.size for leaf in leaves if leaf.dtype.itemsize == 1)
  return {
    "dtype": dtype,
    "gigabytes": round(size / _GB, 2),
    "int8_gigabytes": round(eight / _GB, 2),
  }


def peak(call: Call, dtype: str, batch: int, device: Any) -> dict[str, Any]:
  """What a device needs for a call, by the compiler's own account."""
  import jax

  from more4d_jax import partitioning

  mesh = partitioning.make_mesh(partitioning.MeshConfig(), [device])
  place = partitioning.replicated(mesh)

  def put(leaf: Any, shape: tuple[int, ...]) -> Any:
    return jax.ShapeDtypeStruct(shape, leaf.dtype, sharding=place)

  params = jax.tree.map(
    lambda leaf: put(leaf, leaf.shape), partitioning.unbox(held(call, dtype))
  )
  inputs = jax.tree.map(
    lambda leaf: put(leaf, (batch, *leaf.shape[1:])), call.inputs
  )
  start = time.perf_counter()
  line = {"dtype": dtype, "batch": batch}
  with jax.set_mesh(mesh):
    lowered = jax.jit(call.apply).lower(params, *inputs)
    try:
      compiled = lowered.compile()
    except jax.errors.JaxRuntimeError as error:
      return {**line, "error": str(error).splitlines()[0][:200]}
  found = compiled.memory_analysis()
  sizes = {
    "arguments": found.argument_size_in_bytes,
    "temporary": found.temp_size_in_bytes,
    "result": found.output_size_in_bytes,
  }
  line |= {name: round(size / _GB, 2) for name, size in sizes.items()}
  line["together"] = round(sum(sizes.values()) / _GB, 2)
  return {**line, "compile_seconds": round(time.perf_counter() - start)}


def main(arguments: list[str]) -> None:
  """Prints the lines."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--compile", nargs="*", choices=_TARGETS, default=[])
  parser.add_argument("--sizes", nargs="*", default=["1p3b", "14b"])
  parser.add_argument("--parts", nargs="*", default=["strag", "vism", "umT5"])
  parser.add_argument("--attention", default="auto")
  parser.add_argument("--dtypes", nargs="*", default=["bfloat16", "int8"])
  parser.add_argument("--batches", nargs="*", type=int, default=[1, 2])
  flags = parser.parse_args(arguments)
  os.environ.setdefault("JAX_PLATFORMS", "cpu")
  every = (calls(size, flags.attention).items() for size in flags.sizes)
  found = dict(itertools.chain.from_iterable(every))
  found = {n: c for n, c in found.items() if n.split()[0] in flags.parts}
  for name, call in found.items():
    for dtype in flags.dtypes:
      line = {"part": name, **weights(call, dtype)}
      print(json.dumps(line), flush=True)
  for target in flags.compile:
    device = _device(target)
    cases = itertools.product(found, flags.dtypes, flags.batches)
    for name, dtype, batch in cases:
      line = {"part": name, "device": target, "attention": flags.attention}
      line |= peak(found[name], dtype, batch, device)
      print(json.dumps(line), flush=True)


def _device(target: str) -> Any:
  if _TARGETS[target] is None:
    return absent_devices.hopper_devices()[0]
  return absent_devices.tpu_devices(_TARGETS[target])[0]


if __name__ == "__main__":
  main(sys.argv[1:])
