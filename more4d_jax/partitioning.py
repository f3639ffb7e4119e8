"""Device mesh, one rule table, and the shardings that follow from it.

Modules name the axes of their parameters and activations; this file alone
says which mesh axis each name is divided over.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from flax.core import meta
from jax.experimental import mesh_utils, multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Shaped

AnyMesh = Mesh | jax.sharding.AbstractMesh  # The latter without devices.
MESH_AXES = ("data", "fsdp", "context", "tensor")
HOST_MEMORY = "pinned_host"  # The host's, as jax names it.

# Logical axis -> mesh axes. A name that is missing here is an error.
RULES: dict[str, tuple[str, ...]] = {
  # Parameters.
  "embed": ("fsdp",),
  "heads": ("tensor",),
  "mlp": ("tensor",),
  "layers": (),
  "conv_in": (),
  "conv_out": ("fsdp",),
  "vocab": (),
  "norm": (),
  "table": (),
  # Activations.
  "batch": ("data", "fsdp"),
  "wide_batch": ("data",),  # Where `embed` divides the width.
  "tokens": ("context",),
  "frames": (),
  "height": (),
  "width": (),
  # One of the two, over devices that share no samples.
  "side": ("tensor", "context", "fsdp", "data"),
  "channels": (),
  "act_embed": (),
  "act_heads": ("tensor",),
  "act_mlp": ("tensor",),
  "text": (),
}

_NO_MATRIX = ("layers", "norm", "table")


@dataclasses.dataclass(frozen=True)
class MeshConfig:
  """Devices along each mesh axis; at most one may be -1, meaning the rest."""

  data: int = 1
  fsdp: int = 1
  context: int = 1
  tensor: int = 1


def make_mesh(
  config: MeshConfig, devices: Sequence[jax.Device] | None = None
) -> Mesh:
  """Lays devices out along (data, fsdp, context, tensor).

  Neighbours along the later axes are neighbours on the machine. Slices that
  only a slower network joins divide `data`, or `fsdp` where it does not.

  Args:
    config: sizes; their product must be the number of devices.
    devices: defaults to all devices of all processes.

  Raises:
    ValueError: if the sizes do not multiply to the number of devices.
  """
  devices = list(jax.devices() if devices is None else devices)
  shape = [getattr(config, name) for name in MESH_AXES]
  if -1 in shape:
    known = math.prod(size for size in shape if size != -1)
    shape[shape.index(-1)] = len(devices) // max(known, 1)
  if min(shape) < 1 or math.prod(shape) != len(devices):
    raise ValueError(
      f"mesh {dataclasses.asdict(config)} does not cover {len(devices)} "
      "devices: set mesh sizes whose product is the number of devices "
      "(one of them may be -1)"
    )
  return Mesh(
    _laid_out(shape, devices),
    MESH_AXES,
    axis_types=(AxisType.Auto,) * len(MESH_AXES),
  )


def _laid_out(shape: Sequence[int], devices: Sequence[jax.Device]) -> Any:
  """Devices as an array of a shape, as their connections suggest."""
  slices = len({getattr(device, "slice_index", 0) for device in devices})
  if slices > 1:
    over = [1] * len(shape)
    for axis, size in enumerate(shape[:2]):
      if size % slices == 0:
        over[axis] = slices
        break
    else:
      raise ValueError(
        f"mesh {dict(zip(MESH_AXES, shape))} lies on {slices} slices: set "
        "mesh.data or mesh.fsdp to a multiple of them"
      )
    within = [size // count for size, count in zip(shape, over)]
    return mesh_utils.create_hybrid_device_mesh(
      within, over, devices, allow_split_physical_axes=True
    )
  if not _fill_a_box(devices):
    return np.asarray(devices).reshape(shape)
  return mesh_utils.create_device_mesh(
    shape, devices, allow_split_physical_axes=True
  )


def _fill_a_box(devices: Sequence[jax.Device]) -> bool:
  """Whether chips are a box of a TPU's torus, which can be laid out well."""
  if devices[0].platform != "tpu":
    return True
  places = np.asarray([device.coords for device in devices])
  sides = places.max(axis=0) - places.min(axis=0) + 1
  return int(sides.prod()) == len(np.unique(places, axis=0))


def one_device() -> Mesh:
  """The mesh of the default device, where nothing is divided.

  In force, it tells kernels what they run on.
  """
  return make_mesh(MeshConfig(), jax.local_devices()[:1])


def partition_spec(
  axes: Sequence[str | None],
  shape: Sequence[int],
  mesh: AnyMesh,
) -> PartitionSpec:
  """Maps named axes of an array to mesh axes.

  A mesh axis is used once, by the first array axis that asks for it. An array
  axis whose length its mesh axes do not divide leaves out the last of them,
  and so on.

  Args:
    axes: one logical name or None for each axis of the array.
    shape: the array's shape.
    mesh: whose axis sizes decide divisibility.

  Raises:
    ValueError: for an unknown name or a wrong number of names.
  """
  if len(axes) != len(shape):
    raise ValueError(f"axes {tuple(axes)} do not fit shape {tuple(shape)}")
  used: set[str] = set()
  parts: list[tuple[str, ...] | None] = []
  for name, size in zip(axes, shape):
    if name is not None and name not in RULES:
      raise ValueError(f"no rule for the logical axis {name!r} in RULES")
    wanted = () if name is None else RULES[name]
    wanted = tuple(a for a in wanted if a not in used and mesh.shape[a] > 1)
    while size % math.prod(mesh.shape[a] for a in wanted):
      wanted = wanted[:-1]
    used.update(wanted)
    parts.append(wanted or None)
  while parts and parts[-1] is None:
    parts.pop()
  return PartitionSpec(*parts)


def undivided(mesh: AnyMesh, boxed: Any) -> dict[str, tuple[int, ...]]:
  """Arrays of which an axis is not divided over all that it asks for.

  Args:
    mesh: the device mesh.
    boxed: tree of shapes, boxed where axes are named.

  Returns: path -> shape.
  """
  found = {}
  leaves = jax.tree_util.tree_leaves_with_path(boxed, is_leaf=is_box)
  for path, leaf in leaves:
    if not is_box(leaf):
      continue
    shape = tuple(leaf.value.shape)
    whole = partition_spec(leaf.names, (mesh.size,) * len(shape), mesh)
    if partition_spec(leaf.names, shape, mesh) != whole:
      found["/".join(str(key.key) for key in path)] = shape
  return found


def param(
  init: Callable[..., Any], axes: Sequence[str | None]
) -> Callable[..., Any]:
  """Names the axes of the parameter that an initializer makes."""
  return nn.with_logical_partitioning(init, tuple(axes))


def constrain(
  x: Shaped[Array, "..."], *axes: str | None
) -> Shaped[Array, "..."]:
  """Constrains an activation's layout; returns it as it is without a mesh.

  The mesh is the one of the enclosing `jax.set_mesh(mesh)`.
  """
  mesh = jax.sharding.get_abstract_mesh()
  if mesh.empty or mesh.size == 1:
    return x
  return jax.lax.with_sharding_constraint(
    x, partition_spec(axes, x.shape, mesh)
  )


def mesh_axes(name: str, size: int) -> tuple[str, ...]:
  """Mesh axes that divide an array axis of this name and size.

  None without a mesh; see `partition_spec` where they do not divide the size.
  """
  mesh = jax.sharding.get_abstract_mesh()
  if mesh.empty:
    return ()
  for axes in partition_spec((name,), (size,), mesh):
    return (axes,) if isinstance(axes, str) else tuple(axes)
  return ()


def filling(name: str, size: int) -> int:
  """How much an array axis wants at its end so that the mesh divides it."""
  mesh = jax.sharding.get_abstract_mesh()
  if mesh.empty:
    return 0
  return -size % math.prod(mesh.shape[a] for a in RULES[name])


def map_shards(
  function: Callable[..., Array],
  axes: Sequence[Sequence[str | None]],
  *arrays: Shaped[Array, "..."] | None,
  check_vma: bool = True,
) -> Shaped[Array, "..."]:
  """Calls a function with each device's parts of arrays, all axes manual.

  Without a mesh it is called with the arrays.

  Args:
    function: returns an array that is divided like the first one.
    axes: logical names of each array's axes, see `partition_spec`.
    *arrays: arguments of the function; None stays None.
    check_vma: see `jax.shard_map`; not for loops that begin with constants,
      nor where there are gradients without it.
  """
  mesh = jax.sharding.get_abstract_mesh()
  if mesh.empty or mesh.size == 1:
    return function(*arrays)
  specs = tuple(
    PartitionSpec() if x is None else partition_spec(names, x.shape, mesh)
    for names, x in zip(axes, arrays, strict=True)
  )
  mapped = jax.shard_map(
    function, in_specs=specs, out_specs=specs[0], check_vma=check_vma
  )
  return mapped(*arrays)


def is_box(leaf: Any) -> bool:
  """Whether a tree node is a parameter that carries axis names."""
  return isinstance(leaf, meta.Partitioned)


def unbox(tree: Any) -> Any:
  """Strips axis names from a tree of parameters."""
  return jax.tree.map(
    lambda leaf: leaf.value if is_box(leaf) else leaf, tree, is_leaf=is_box
  )


def matrices_as(tree: Any, dtype: str) -> Any:
  """Parameters with their matrices in a type; vectors stay as they are.

  Args:
    tree: boxed parameters, or parts of a nested dict of them. What has at
      least two axes besides those of stacked layers, norms and tables is a
      matrix.
    dtype: "float32" or "bfloat16".
  """

  def one(leaf: Any) -> Any:
    if not is_box(leaf):
      return leaf
    axes = [name for name in leaf.names if name not in _NO_MATRIX]
    if len(axes) < 2:
      return leaf
    return leaf.replace_boxed(leaf.value.astype(dtype))

  return jax.tree.map(one, tree, is_leaf=is_box)


def shardings(mesh: AnyMesh, abstract_tree: Any) -> Any:
  """Returns a NamedSharding for each leaf; unnamed leaves are replicated.

  Args:
    mesh: the device mesh.
    abstract_tree: shapes (or arrays), boxed where axes are named, for example
      from `jax.eval_shape(model.init, ...)`.

  Returns: a tree like `unbox(abstract_tree)`.
  """

  def one(leaf: Any) -> NamedSharding:
    if not is_box(leaf):
      return NamedSharding(mesh, PartitionSpec())
    spec = partition_spec(leaf.names, leaf.value.shape, mesh)
    return NamedSharding(mesh, spec)

  return jax.tree.map(one, abstract_tree, is_leaf=is_box)


def batch_sharding(mesh: Mesh) -> NamedSharding:
  """Sharding of a batch: axis 0 over data and fsdp, the rest whole."""
  return NamedSharding(mesh, PartitionSpec(RULES["batch"]))


def batch_rows(mesh: Mesh, batch: int) -> tuple[int, ...]:
  """Rows of a batch that devices of this process hold, in ascending order.

  Processes that the mesh gives the same part of a batch hold the same rows.

  Args:
    mesh: the device mesh.
    batch: number of rows on all devices together.
  """
  held = batch_sharding(mesh).addressable_devices_indices_map((batch,))
  rows = {row for (part,) in held.values() for row in range(batch)[part]}
  return tuple(sorted(rows))


def replicated(mesh: Mesh) -> NamedSharding:
  """Sharding of a value that every device holds in full."""
  return NamedSharding(mesh, PartitionSpec())


def fetch(tree: Any) -> Any:
  """A tree of arrays as numpy arrays, in every process.

  What lies on devices of several processes is gathered, so all of them must
  ask for it.
  """

  def one(leaf: Any) -> Any:
    spread = isinstance(leaf, jax.Array) and not (
      leaf.is_fully_addressable or leaf.is_fully_replicated
    )
    if spread:
      return multihost_utils.process_allgather(leaf, tiled=True)
    return jax.device_get(leaf)

  return jax.tree.map(one, tree)


def bytes_per_device(mesh: AnyMesh, abstract_tree: Any) -> int:
  """Bytes one device holds of a tree, from shapes alone."""
  shapes = unbox(abstract_tree)
  total = 0
  for leaf, sharding in zip(
    jax.tree.leaves(shapes), jax.tree.leaves(shardings(mesh, abstract_tree))
  ):
    local = sharding.shard_shape(tuple(leaf.shape))
    total += (
      math.prod(local) * jax.dtypes.canonicalize_dtype(leaf.dtype).itemsize
    )
  return total
