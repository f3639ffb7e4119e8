"""What is measured with a network whose frozen parts are still on disk."""

import jax
import numpy as np

from more4d_jax import partitioning
from more4d_jax.checkpoints import stored_arrays
from more4d_jax.experiment import measurement


def test_arrays_on_disk_go_to_every_device_of_the_mesh():
  values = np.arange(12, dtype=np.float32).reshape(3, 4)
  stored = stored_arrays.StoredArray(
    values.shape, values.dtype, lambda index: values[index]
  )
  params = {"trained": jax.numpy.ones(4), "frozen": stored}
  mesh = partitioning.make_mesh(partitioning.MeshConfig(fsdp=-1))
  with jax.set_mesh(mesh):
    measure = measurement.compiled(
      lambda params, x: x @ params["frozen"] + params["trained"], params
    )
    found = measure(np.ones((2, 3), np.float32))
  np.testing.assert_array_equal(found, np.tile(values.sum(0) + 1, (2, 1)))
