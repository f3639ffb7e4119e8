"""What trained networks make of many examples: outputs, latent statistics."""

import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from more4d_jax import partitioning
from more4d_jax.checkpoints import placing, stored_arrays
from more4d_jax.data import loader
from more4d_jax.experiment import record_splits
from more4d_jax.experiment import task as tasks
from more4d_jax.models import latent_stats

_STATISTICS_BATCH = 8


def compiled(function: Any, params: Any) -> Any:
  """Compiles `function(params, batch)` and gives it its parameters.

  They are arguments of the program; as parts of `function` they would become
  constants of it, a second copy that the compiler looks through. Those that
  are still on disk, which are not trained, go whole to each device of the mesh
  in force.

  Returns: a function of the batch, whose results are on the host.
  """
  placed = jax.tree.map(_placed, params)
  program = functools.partial(jax.jit(function), placed)
  return lambda batch: partitioning.fetch(program(batch))


def _placed(array: Any) -> Any:
  if not isinstance(array, stored_arrays.StoredArray):
    return array
  mesh = jax.sharding.get_mesh()
  return placing.put(array, partitioning.replicated(mesh))


def measure_latents(
  encode: Any, batches: Iterable[Mapping[str, np.ndarray]], channels: int
) -> latent_stats.LatentStats:
  """Mean and standard deviation of latents, the posterior's own included.

  Args:
    encode: batch -> (mean, log-variance), as `compiled` gives it.
    batches: of training examples.
    channels: of a latent.
  """
  moments = latent_stats.LatentMoments(channels)
  for batch in batches:
    mean, logvar = encode(batch)
    moments.add(mean, logvar)
  return moments.stats()


def statistics_batches(
  data: tasks.DataSet, count: int
) -> Iterable[dict[str, np.ndarray]]:
  """The first `count` examples of a data set, each once, in batches."""
  chosen = record_splits.Subset(
    data.source, range(min(count, len(data.source)))
  )
  return loader.batches_in_order(chosen, data.transform, _STATISTICS_BATCH)


def apply_in_batches(
  function: Any, examples: Sequence[Mapping[str, Any]], size: int = 8
) -> np.ndarray:
  """Applies a compiled function to stacked examples, `size` at a time."""
  found = []
  for first in range(0, len(examples), size):
    batch = loader.stack(list(examples[first : first + size]))
    found.append(np.asarray(function(batch)))
  return np.concatenate(found)
