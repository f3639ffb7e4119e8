"""The programs of generation, from shapes alone.

The samplers themselves run, with a `Stages` whose calls trace programs where
others would run them: what is planned is what is later compiled.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from more4d_jax import (
  checkpoint_networks,
  generation,
  partitioning,
  registry,
)
from more4d_jax.models import abstract, latent_stats
from more4d_jax.name_maps import matching
from more4d_jax.planning import absent_devices, programs
from more4d_jax.rendering import render_video
from more4d_jax.sampling import (
  caching,
  denoising,
  guidance,
  networks,
  sample_strag,
  sample_vism,
  sampler_options,
  solvers,
  stages,
)

RENDERING = stages.Stage("renderings", "renderer", ())  # Without a network.


@dataclasses.dataclass(frozen=True)
class Work:
  """What goes through the stages at once; none of those that are left out.

  Attributes:
    depth: (H, W) of a picture whose depth is estimated.
    scenes: whose trajectories are drawn.
    rendering: (T, H, W) of a film of a scene of that size.
    films: whose holes are filled.
  """

  depth: tuple[int, int] | None = None
  scenes: int = 0
  rendering: tuple[int, int, int] | None = None
  films: int = 0

  @classmethod
  def of(
    cls, checkpoint: checkpoint_networks.CheckpointNetworks, batch: int
  ) -> "Work":
    """All that a checkpoint can do, at the size of its networks."""
    kinds = [kind for kind in registry.SAMPLED if checkpoint.has(kind)]
    size = checkpoint.size(kinds[0] if kinds else "strag")
    return cls(
      size[1:] if checkpoint.has("depth") else None,
      batch if "strag" in kinds else 0,
      size,
      batch if "vism" in kinds else 0,
    )


@dataclasses.dataclass(frozen=True)
class _Tracing(stages.Stages):
  """Stages that keep programs instead of running them.

  Attributes:
    checkpoint: the networks.
    offload: whether layers lie in the host's memory.
    found: stages and their programs, in the order in which they would run.
  """

  checkpoint: checkpoint_networks.CheckpointNetworks | None = None
  offload: bool = False
  found: list[tuple[stages.Stage, programs.Program]] = dataclasses.field(
    default_factory=list
  )
  _now: list[stages.Stage] = dataclasses.field(default_factory=list)

  def borrow(
    self, stage: stages.Stage
  ) -> contextlib.AbstractContextManager[networks.BoundModule]:
    """Borrows shapes; the programs that follow are this stage's."""
    self._now[:] = [stage]
    return super().borrow(stage)

  def shapes_of(self, tree: Any) -> Any:
    """Shapes where arrays lie: samples divided, all else whole."""

    def one(x: Any) -> jax.ShapeDtypeStruct:
      if getattr(x, "sharding", None) is not None:
        return x
      shape = np.shape(x)
      names = ("batch", *(None,) * (len(shape) - 1))[: len(shape)]
      spec = partitioning.partition_spec(names, shape, self.mesh)
      return jax.ShapeDtypeStruct(
        shape, jnp.result_type(x), sharding=self.placed(spec)
      )

    return jax.tree.map(one, tree)

  def placed(
    self, spec: jax.sharding.PartitionSpec, memory: str = "device"
  ) -> jax.sharding.Sharding:
    """Where the mesh has an array."""
    return absent_devices.placed(self.mesh, spec, memory)

  def call(
    self, program: Callable[..., Any], *args: Any, **options: Any
  ) -> Any:
    """Traces a program; gives zeros that take no memory."""
    args = self.shapes_of(args)
    with jax.set_mesh(self.mesh):
      traced = program.trace(*args, **options)
    model, rest = args[0], args[1:]
    found = programs.Program(
      name=_name(model, program),
      mesh=self.mesh,
      trace=lambda: traced,
      held={"parameters": model, "inputs": rest},
    )
    self.found.append((self._now[0], found))
    return _zeros(traced.out_info)

  def draw(
    self,
    stage: stages.Stage,
    jobs: Sequence[stages.Job],
    sampler: sampler_options.SamplerConfig,
  ) -> list[denoising.Drawn]:
    """Traces one step of a sampler, that with guidance if there is one."""
    found = []
    guided = caching.guided_steps(sampler)
    form = self.halves if guided else None
    join = guidance.stack if form == "sequence" else guidance.pair
    with self.borrow(stage) as model:
      for job in jobs:
        given = job.conditions
        if guided:
          given = jax.eval_shape(join, job.negative, job.conditions)
        row = next(iter(solvers.rows(solvers.schedule_of(sampler))))
        with jax.set_mesh(self.mesh):
          state = jax.eval_shape(
            lambda *args: denoising.begin(
              *args, cached=bool(sampler.teacache), halves=form
            ),
            *self.shapes_of((model, given, job.noise)),
          )
        numbers = denoising.numbers_of(sampler)
        after, _ = self.call(
          denoising.step, model, given, state, row, numbers, halves=form
        )
        computed = np.ones(sampler.num_steps, bool)
        found.append(denoising.Drawn(after.solution.latents, computed))
    return found

  @contextlib.contextmanager
  def lend_shapes(
    self, kind: str, parts: Sequence[str] | None = None
  ) -> Iterator[networks.BoundModule]:
    """A network with the shapes of some of its parts."""
    network, row = self.checkpoint.network(kind), registry.NETWORKS[kind]
    boxed = self.checkpoint.boxed(kind)
    params = {
      path: self._parameter(path, leaf, boxed)
      for path, leaf in matching.flatten(network.params).items()
      if parts is None or row.part_of(path) in parts
    }
    stats = network.metadata.get("latent_stats")
    yield networks.BoundModule(
      matching.unflatten(params),
      row.module_class(network.config),
      stats and latent_stats.LatentStats.from_json(stats),
    )

  def _parameter(
    self, path: str, leaf: Any, boxed: Mapping[str, Any]
  ) -> jax.ShapeDtypeStruct:
    shape = tuple(leaf.shape)
    spec = abstract.sharding(path, shape, boxed, self.mesh).spec
    waits = self.offload and abstract.is_layers(path)
    memory = partitioning.HOST_MEMORY if waits else "device"
    sharding = self.placed(spec, memory)
    dtype = jax.dtypes.canonicalize_dtype(leaf.dtype)
    return jax.ShapeDtypeStruct(shape, dtype, sharding=sharding)


def _name(model: networks.BoundModule, program: Callable[..., Any]) -> str:
  """The network and what is done with it, as "STraG step"."""
  done = program.__name__.strip("_").replace("_", " ")
  return f"{type(model.module).__name__} {done}"


def _zeros(shapes: Any) -> Any:
  """Arrays of shapes that share one zero."""
  return jax.tree.map(
    lambda x: np.broadcast_to(np.zeros((), x.dtype), x.shape), shapes
  )


def _array(shape: Sequence[int], dtype: str = "float32") -> np.ndarray:
  return np.broadcast_to(np.zeros((), dtype), tuple(shape))


def traced(
  checkpoint: checkpoint_networks.CheckpointNetworks,
  work: Work,
  options: generation.Options = generation.DEFAULT,
) -> list[tuple[stages.Stage, programs.Program]]:
  """The programs of each stage, in the order in which they run.

  Args:
    checkpoint: the networks; no weight is read.
    work: what goes through them.
    options: how they are run.
  """
  tracing = _Tracing(
    lend=lambda *_: None,
    mesh=checkpoint.mesh,
    halves=options.halves,
    checkpoint=checkpoint,
    offload=options.offload,
  )
  tracing = dataclasses.replace(tracing, lend=tracing.lend_shapes)
  if work.depth is not None:
    with tracing.borrow(generation.DEPTH) as model:
      picture = _array((1, *work.depth, 3), "uint8")
      tracing.call(generation.metric_depth, model, picture)
  if work.scenes:
    _trace_tracks(tracing, checkpoint, work.scenes)
  if work.rendering is not None:
    tracing.found.append((RENDERING, _rendering(tracing.mesh, work.rendering)))
  if work.films:
    _trace_videos(tracing, checkpoint, work.films)
  return tracing.found


def _trace_tracks(
  tracing: _Tracing,
  checkpoint: checkpoint_networks.CheckpointNetworks,
  batch: int,
) -> None:
  """Traces what draws trajectories."""
  shared = _shared(tracing, sample_strag.TEXT, batch)
  pictures = sample_strag.Pictures(
    depths=_array(shared["images"].shape[:3]),
    intrinsics=_array((batch, 4)),
    **shared,
  )
  settings = sample_strag.Settings(
    checkpoint.normalisation,
    checkpoint.sampler("strag"),
    checkpoint.choices("strag"),
  )
  list(sample_strag.sample_tracks(tracing, [pictures], settings))


def _trace_videos(
  tracing: _Tracing,
  checkpoint: checkpoint_networks.CheckpointNetworks,
  batch: int,
) -> None:
  """Traces what completes renderings."""
  clip = (batch, *checkpoint.size("vism"))
  renderings = sample_vism.Renderings(
    videos=_array((*clip, 3), "uint8"),
    coverage=_array(clip, "bool"),
    **_shared(tracing, sample_vism.TEXT, batch),
  )
  sampler, choices = checkpoint.sampler("vism"), checkpoint.choices("vism")
  list(sample_vism.complete_videos(tracing, [renderings], sampler, choices))


def _shared(
  tracing: _Tracing, stage: stages.Stage, batch: int
) -> dict[str, np.ndarray]:
  """What both samplers are given, without memory; text goes through `stage`."""
  checkpoint = tracing.checkpoint
  frames, rows, columns = checkpoint.size(stage.kind)
  length = checkpoint.network(stage.kind).config.text.length
  (context,) = tracing.text_contexts(stage, [_array((length,), "int32")])
  context = np.broadcast_to(context, (batch, *context.shape))
  return {
    "images": _array((batch, rows, columns, 3), "uint8"),
    "text_context": context,
    "negative_context": context,
    "noise": _array(sample_strag.latent_shape(batch, frames, rows, columns)),
  }


def _rendering(mesh: Mesh, shape: tuple[int, int, int]) -> programs.Program:
  """A film of a scene of its size, holes filled, on one of the devices."""
  frames, *size = shape
  alone = partitioning.make_mesh(
    partitioning.MeshConfig(), mesh.devices.flat[:1]
  )
  place = absent_devices.placed(alone, jax.sharding.PartitionSpec())
  tracks, colours = (frames, *size, 3), (*size, 3)
  given = [
    jax.ShapeDtypeStruct(one, jnp.float32, sharding=place)
    for one in (tracks, colours, (frames, 4, 4), (frames, 4), (4,))
  ]
  options = render_video.RenderOptions(*size, fill=True)
  return programs.Program(
    name=RENDERING.what,
    mesh=alone,
    trace=lambda: render_video.render_bytes.trace(*given, options),
    held={"inputs": given},
  )
