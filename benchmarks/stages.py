"""What each stage of generation holds on the devices, from shapes alone.

Run from the repository: python benchmarks/stages.py [--size 14b] [--dtype
bfloat16]. It prints a Markdown table: for each stage the network's parts and
the bytes of their weights, were they all of one type. Nothing is read or made.
"""

import argparse
import math
from collections.abc import Iterator

import jax
import jax.numpy as jnp

from more4d_jax import generation, partitioning, registry
from more4d_jax.models import abstract, variants
from more4d_jax.name_maps import matching
from more4d_jax.sampling import sample_strag, sample_vism, stages

STAGES = (generation.DEPTH, *sample_strag.STAGES, *sample_vism.STAGES)


def counts(size: str) -> Iterator[tuple[stages.Stage, int]]:
  """Each stage, and the number of weights that are there for it."""
  variant, known = variants.get(size), {}
  for stage in STAGES:
    row = registry.NETWORKS[stage.kind]
    if stage.kind not in known:
      module = row.module_class(getattr(variant, stage.kind))
      shapes = abstract.boxed_shapes(stage.kind, module)
      known[stage.kind] = matching.flatten(partitioning.unbox(shapes))
    yield (
      stage,
      sum(
        math.prod(leaf.shape)
        for path, leaf in known[stage.kind].items()
        if row.part_of(path) in stage.parts
      ),
    )


def main() -> None:
  """Prints the table."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--size", default="14b", choices=variants.VARIANTS)
  parser.add_argument("--dtype", default="bfloat16")
  arguments = parser.parse_args()
  item, total = jnp.dtype(arguments.dtype).itemsize, 0
  print(f"Weights of size {arguments.size} in {arguments.dtype}.\n")
  print("| stage | network | parts | weights | GB |")
  print("|---|---|---|---:|---:|")
  for stage, count in counts(arguments.size):
    parts = ", ".join(stage.parts)
    print(
      f"| {stage.what} | {stage.kind} | {parts} | {count:,} | "
      f"{count * item / 1e9:.2f} |"
    )
    total = max(total, count)
  print(f"\nMost at once: {total * item / 1e9:.2f} GB.")


if __name__ == "__main__":
  jax.config.update("jax_platforms", "cpu")
  main()
