"""Host memory while a run starts from a large network and finishes one.

  python benchmarks/network_memory.py --layers 2,4 --width 2048

A transformer of 4D-STraG with so many layers lies on eight virtual devices,
divided over `fsdp`, whose memory is this process's too: all shards together
are the parameters once. "finish" fingerprints and writes them, "start" opens
what it wrote and brings it to the mesh. Every job runs in a process of its
own; `peak` is its largest resident memory, less what it had before it made an
array. One line of JSON for each.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile

_GIB = 1 << 30


def _job(job: str, layers: int, width: int, folder: pathlib.Path) -> dict:
  """Does one job in this process, and measures it."""
  import jax

  from more4d_jax import partitioning
  from more4d_jax.checkpoints import store
  from more4d_jax.models import abstract, strag, variants
  from more4d_jax.training import state as states

  nano = variants.get("nano").strag
  config = dataclasses.replace(
    nano,
    dit=dataclasses.replace(
      nano.dit,
      width=width,
      ffn_width=27 * width // 10,
      num_heads=width // 128,
      num_layers=layers,
    ),
  )
  mesh = partitioning.make_mesh(partitioning.MeshConfig(fsdp=-1))
  boxed = abstract.boxed_shapes("strag", strag.STraG(config))
  shards = sum(
    leaf.size * leaf.dtype.itemsize
    for leaf in jax.tree.leaves(partitioning.unbox(boxed))
  )

  def initial() -> object:
    zeros = lambda leaf: jax.numpy.zeros(leaf.shape, leaf.dtype)  # noqa: E731
    return jax.tree.map(zeros, boxed)

  before = _peak()
  loaded = {}
  if job == "start":
    loaded = store.open_network(folder / "model").params
  params = states.create_params(initial, mesh, loaded)
  jax.block_until_ready(params)
  if job == "finish":
    metadata = {"identity": store.fingerprint(params, {})}
    store.save_network(folder / "model", params, config, metadata)
  peak = _peak() - before
  return {
    "job": job,
    "layers": layers,
    "shards_gib": round(shards / _GIB, 3),
    "peak_gib": round(peak / _GIB, 3),
    "allowed_gib": round(1.2 * shards / _GIB + 2, 3),
  }


def _peak() -> int:
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
  """Runs the jobs, each in its own process."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--layers", default="2,4")
  parser.add_argument("--width", type=int, default=2048)
  parser.add_argument("--job", nargs=2, metavar=("JOB", "FOLDER"))
  given = parser.parse_args()
  if given.job:
    job, folder = given.job
    found = _job(job, int(given.layers), given.width, pathlib.Path(folder))
    print(json.dumps(found))
    return
  flag = "--xla_force_host_platform_device_count=8"
  environment = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flag}
  for layers in given.layers.split(","):
    with tempfile.TemporaryDirectory() as folder:
      for job in ("finish", "start"):
        command = [sys.executable, "-m", "benchmarks.network_memory"]
        command += ["--layers", layers, "--width", str(given.width)]
        command += ["--job", job, folder]
        subprocess.run(command, check=True, env=environment)


if __name__ == "__main__":
  main()
