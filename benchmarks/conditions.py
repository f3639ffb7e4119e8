"""What a training step costs with kept conditions, and with online ones.

  python -m benchmarks.conditions [--size small] [--kind strag] [--batch 2]

One line of JSON: seconds of steps whose conditions were kept, of steps that
make them of records first, each after one that compiles, and in turn so that
another load of the machine falls on both; their medians and the ratio. Reading
is no part of it: both find their batch on the devices. Autoencoders and the
network are of the size, their weights are random, records are procedural.
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
  root: pathlib.Path, kind: str, size: str, batch: int, conditions: str
) -> latent_task.LatentTask:
  values = importlib.import_module(f"configs.{kind}").get_config(f"size={size}")
  values.batch_size = batch
  values.data.records = str(root / "records")
  values.data.conditions = conditions
  values.data.cache = str(root / "cache")
  values.init_from[_BELOW[kind]] = str(root / _BELOW[kind])
  return run.make_task(config_reader.read(values))


def _batch(task: latent_task.LatentTask, opened, mesh):
  """A batch as the loop has it, on the devices."""
  task.prepare(opened)
  found = task.train_set(opened)
  size = task.config.batch_size
  (batch,) = loader.batches_in_order(
    found.source, found.transform, size, numbers=range(size)
  )
  return prefetch.to_mesh(batch, mesh)


def measure(kind: str, size: str, batch: int, repeats: int) -> dict:
  """Times both, in turn; see the module."""
  variant = variants.get(size)
  with tempfile.TemporaryDirectory() as folder:
    root = pathlib.Path(folder)
    clip = {n: getattr(variant, n) for n in ("frames", "height", "width")}
    scenes = generation.SceneOptions(batch, views=int(kind == "vism"), **clip)
    make.make_records(
      make.MakeOptions(str(root / "records"), scenes, progress=False)
    )
    _write_autoencoder(root, _BELOW[kind], size)
    trainings, batches = {}, {}
    for conditions in ("cached", "online"):
      task = _task(root, kind, size, batch, conditions)
      opened = task.open(root)
      training = building.training(task, opened)
      batches[conditions] = _batch(task, opened, training.mesh)
      trainings[conditions] = training
    state = trainings["cached"].create()
    seconds = {name: [] for name in trainings}
    for repeat in range(repeats + 1):
      for name, training in trainings.items():
        jax.block_until_ready(state)
        began = time.monotonic()
        state, metrics = training.step(state, training.frozen, batches[name])
        jax.block_until_ready((state, metrics))
        assert jnp.isfinite(metrics["loss"]), name
        if repeat:
          seconds[name].append(round(time.monotonic() - began, 3))
    for training in trainings.values():
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
