"""What a training step costs with kept conditions, and with online ones.

  python -m benchmarks.conditions [--size small] [--kind strag] [--batch 2]

One line of JSON: seconds of steps whose conditions were kept, of steps that
make them of records first, each after one that compiles, and in turn so that
another load of the machine falls on both; their medians and the ratio. Both are
the same compiled step, and reading is no part of it: they find their batch on
the devices. Autoencoders and the network are of the size, their weights are
random, records are procedural.
"""

import argparse
import dataclasses
import importlib
import json
import pathlib
import statistics
import tempfile
import time

import jax
import jax.numpy as jnp

from data_pipelines.trajscene import generation, make
from more4d_jax import partitioning, registry
from more4d_jax.checkpoints import store
from more4d_jax.data import loader
from more4d_jax.experiment import building, config_reader, latent_task, run
from more4d_jax.geometry import motion
from more4d_jax.models import abstract, latent_stats, variants
from more4d_jax.training import prefetch
from more4d_jax.training import step as steps

_BELOW = {"strag": "motion_vae", "vism": "video_vae"}


def _write_autoencoder(root: pathlib.Path, kind: str, size: str) -> None:
  """A network with random weights, as a finished training leaves it."""
  variant = variants.get(size)
  config = getattr(variant, kind)
  boxed = abstract.boxed_shapes(
    kind, registry.NETWORKS[kind].module_class(config)
  )
  leaves, tree = jax.tree.flatten(partitioning.unbox(boxed))
  keys = jax.random.split(jax.random.key(0), len(leaves))
  params = tree.unflatten(
    [0.05 * jax.random.normal(k, leaf.shape) for k, leaf in zip(keys, leaves)]
  )
  stats = latent_stats.identity(16).to_json()
  metadata = {
    "size": size,
    "identity": "random",
    "latent_stats": stats,
    "base_latent_stats": stats,
    "normalisation": dataclasses.asdict(motion.MotionNormalisation()),
  }
  store.save_network(root / kind / "model", params, config, metadata)


def _task(
  root: pathlib.Path, kind: str, size: str, batch: int
) -> latent_task.LatentTask:
  """A training whose conditions are made in front of each step."""
  values = importlib.import_module(f"configs.{kind}").get_config(f"size={size}")
  values.batch_size = batch
  values.data.records = str(root / "records")
  values.data.conditions = "online"
  values.init_from[_BELOW[kind]] = str(root / _BELOW[kind])
  return run.make_task(config_reader.read(values))


def _write_records(
  root: pathlib.Path, kind: str, size: str, count: int
) -> None:
  variant = variants.get(size)
  clip = {n: getattr(variant, n) for n in ("frames", "height", "width")}
  scenes = generation.SceneOptions(count, views=int(kind == "vism"), **clip)
  make.make_records(
    make.MakeOptions(str(root / "records"), scenes, progress=False)
  )


def _batch(task: latent_task.LatentTask, opened, mesh):
  """A batch of records as the loop has it, on the devices."""
  found, size = task.train_set(opened), task.config.batch_size
  (batch,) = loader.batches_in_order(
    found.source, found.transform, size, numbers=range(size)
  )
  return prefetch.to_mesh(batch, mesh)


def measure(kind: str, size: str, batch: int, repeats: int) -> dict:
  """Times both, in turn; see the module."""
  with tempfile.TemporaryDirectory() as folder:
    root = pathlib.Path(folder)
    _write_records(root, kind, size, batch)
    _write_autoencoder(root, _BELOW[kind], size)
    task = _task(root, kind, size, batch)
    opened = task.open(root)
    training = building.training(task, opened)
    mesh, frozen = training.mesh, training.frozen
    program = building.train_step(task, mesh, task.objective(opened))
    step = steps.under_mesh(program.jitted, mesh)
    encode = task.encoder(opened, mesh)
    online = steps.encoded(step, encode)
    records = _batch(task, opened, mesh)
    kept = encode(records)
    state = training.create()
    seconds = {"cached": [], "online": []}
    for repeat in range(repeats + 1):
      for name, (one, taken) in {
        "cached": (step, kept),
        "online": (online, records),
      }.items():
        jax.block_until_ready((state, taken))
        began = time.monotonic()
        state, metrics = one(state, frozen, taken)
        jax.block_until_ready((state, metrics))
        assert jnp.isfinite(metrics["loss"]), name
        if repeat:
          seconds[name].append(round(time.monotonic() - began, 3))
    training.loader.close()
  medians = {name: statistics.median(v) for name, v in seconds.items()}
  return {
    "kind": kind,
    "size": size,
    "batch": batch,
    "seconds": seconds,
    "medians": medians,
    "ratio": round(medians["online"] / medians["cached"], 2),
  }


def main() -> None:
  """Prints the line."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--kind", default="strag", choices=sorted(_BELOW))
  parser.add_argument("--size", default="small")
  parser.add_argument("--batch", type=int, default=2)
  parser.add_argument("--repeats", type=int, default=5)
  options = parser.parse_args()
  found = measure(options.kind, options.size, options.batch, options.repeats)
  print(json.dumps(found))


if __name__ == "__main__":
  main()
