"""Host memory of opening a bundle and of placing a transformer.

  python benchmarks/residency.py --size 14b --zeros
  python benchmarks/residency.py --size 1p3b --place transformer

A bundle of 4D-ViSM has our names and shapes in bfloat16, layers stored apart;
its numbers are random bits, or zeros, which need no disk. With --place it has
that part alone. Every measurement is a process of its own; the peak is its
largest resident memory. On a CPU what is placed is in host memory too, so that
its law is

  peak <= baseline + 1.1 x placed + largest stored array

where the baseline is the peak of opening alone. One line of JSON each.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import time

import jax
import ml_dtypes
import numpy as np

from more4d_jax import partitioning, registry
from more4d_jax.checkpoints import array_trees, residency, store
from more4d_jax.models import variants
from more4d_jax.name_maps import matching

_BLOCK = 1 << 26
_STACKS = ("blocks",)
_VISM = registry.NETWORKS["vism"]


def shapes(size: str) -> dict[str, tuple[int, ...]]:
  """Path -> shape of the parameters of a 4D-ViSM of a size."""
  variant = variants.get(size)
  module = _VISM.module_class(variant.vism)
  small = (1, 1, 4, 4)
  found = jax.eval_shape(
    lambda key: module.init(
      key,
      np.zeros((*small, 16), np.float32),
      np.zeros((1, variant.vism.text.length), np.int32),
      np.zeros((1, 32, 32, 3), np.float32),
      method="initialise",
    )["params"],
    jax.random.key(0),
  )
  flat = matching.flatten(partitioning.unbox(found))
  return {path: tuple(leaf.shape) for path, leaf in flat.items()}


def make(
  directory: pathlib.Path, size: str, part: str | None, *, zeros: bool
) -> int:
  """Writes a bundle as conversion does, layers apart; returns its bytes."""
  block = np.frombuffer(np.random.default_rng(0).bytes(_BLOCK), np.uint8)
  block = block & 0x3F  # Finite numbers of any fraction.
  total, tree = 0, {}

  def array(shape: tuple[int, ...]) -> array_trees.LazyArray:
    def read() -> np.ndarray:
      count = 2 * int(np.prod(shape))
      if zeros:
        values = np.zeros(count, np.uint8)
      else:  # No view of more than it shows.
        values = np.tile(block, -(-count // _BLOCK))[:count].copy()
      return values.view(ml_dtypes.bfloat16).reshape(shape)

    return array_trees.LazyArray(shape, np.dtype(ml_dtypes.bfloat16), read)

  for path, shape in shapes(size).items():
    if part not in (None, _VISM.part_of(path)):
      continue
    total += 2 * int(np.prod(shape))
    if path.split("/")[1] in _STACKS:
      for layer in range(shape[0]):
        tree[path, layer] = array(shape[1:])
    else:
      tree[path, None] = array(shape)
  with_layers = array_trees.layers_apart(tree)
  (directory / "vism").mkdir(parents=True)
  store.save_params(directory / "vism", with_layers)
  store.write_header(directory / "vism", variants.get(size).vism, {})
  store.write_model(directory, {"vism": "vism"})
  return total


def run(job: str, directory: str) -> None:
  """What a process of its own does; prints its figures."""
  start = time.monotonic()
  networks = store.open_bundle(directory)
  line: dict[str, float] = {}
  if job != "open":
    held = residency.Residency(networks)
    jax.block_until_ready(held.params("vism", [job]))
    line["placed_gib"] = held.resident["vism", job] / 2**30
    line["largest_stored_gib"] = (
      max(
        array.nbytes // array.shape[0]
        if path.split("/")[1] in _STACKS
        else array.nbytes
        for path, array in matching.flatten(networks["vism"].params).items()
        if _VISM.part_of(path) == job
      )
      / 2**30
    )
  line["seconds"] = time.monotonic() - start
  print(json.dumps({"peak_gib": _peak() / 2**30, **line}))


def _peak() -> int:
  """Largest resident memory in bytes; `getrusage` would count the parent's."""
  status = pathlib.Path("/proc/self/status").read_text()
  return int(status.split("VmHWM:")[1].split()[0]) * 1024


def measure(job: str, directory: pathlib.Path) -> dict[str, float]:
  """Runs a job in a process of its own."""
  command = [sys.executable, __file__, "--job", job, str(directory)]
  done = subprocess.run(command, check=True, capture_output=True, text=True)
  return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
  """Makes a bundle, measures, and removes it."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--size", default="14b")
  parser.add_argument("--zeros", action="store_true")
  parser.add_argument("--place", choices=list(_VISM.parts))
  parser.add_argument("--job", nargs=2, help=argparse.SUPPRESS)
  arguments = parser.parse_args()
  if arguments.job:
    run(*arguments.job)
    return
  size, part = arguments.size, arguments.place
  with tempfile.TemporaryDirectory() as folder:
    root = pathlib.Path(folder) / "bundle"
    line = {"size": size, "part": part or "all"}
    line["bundle_gib"] = make(root, size, part, zeros=arguments.zeros) / 2**30
    opened = line["open"] = measure("open", root)
    if part:
      placed = line["place"] = measure(part, root)
      placed["bound_gib"] = (
        opened["peak_gib"]
        + 1.1 * placed["placed_gib"]
        + placed["largest_stored_gib"]
      )
    print(json.dumps(line))


if __name__ == "__main__":
  main()
