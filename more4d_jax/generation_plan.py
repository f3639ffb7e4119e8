"""What each stage of generation needs, from shapes alone.

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

from more4d_jax import (
  checkpoint_networks,
  errors,
  generation,
  partitioning,
  registry,
)
from more4d_jax.checkpoints import dtypes, store
from more4d_jax.geometry import motion
from more4d_jax.models import abstract, latent_stats, variants
from more4d_jax.name_maps import matching
from more4d_jax.planning import absent_devices, devices, programs, report
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


def of_size(size: str, dtype: str) -> dict[str, store.Network]:
  """Networks of a size, with shapes in place of arrays.

  Args:
    size: a name of `models.variants`.
    dtype: how transformers and encoders are held, one of `dtypes.Held`.
  """
  variant = variants.get(size)
  clip = ("frames", "height", "width")
  shared = {"size": size, **{name: getattr(variant, name) for name in clip}}
  stats = {"latent_stats": latent_stats.identity(16).to_json()}
  normalisation = dataclasses.asdict(motion.MotionNormalisation("depth"))
  metadata = {
    "video_vae": stats,
    "motion_vae": {**stats, "normalisation": normalisation},
    **{kind: {} for kind in registry.SAMPLED},
  }
  found = {}
  for kind, own in metadata.items():
    config = getattr(variant, kind)
    module = registry.NETWORKS[kind].module_class(config)
    params = partitioning.unbox(abstract.boxed_shapes(kind, module))
    found[kind] = store.Network(kind, config, params, {**shared, **own})
  return dtypes.cast(found, dtype)


def traced(
  checkpoint: checkpoint_networks.CheckpointNetworks,
  options: generation.Options = generation.DEFAULT,
  kinds: Sequence[str] = registry.SAMPLED,
) -> list[tuple[stages.Stage, programs.Program]]:
  """The programs of each stage, in the order in which they run.

  Args:
    checkpoint: the networks; no weight is read.
    options: how they are run, one scene or film at once unless they say more.
    kinds: of the networks that are sampled.
  """
  tracing = _Tracing(
    lend=lambda *_: None,
    mesh=checkpoint.mesh,
    halves=options.halves,
    checkpoint=checkpoint,
    offload=options.offload,
  )
  tracing = dataclasses.replace(tracing, lend=tracing.lend_shapes)
  for kind in kinds:
    (_trace_tracks if kind == "strag" else _trace_videos)(
      tracing, checkpoint, options.batch or 1
    )
  return tracing.found


def _trace_tracks(
  tracing: _Tracing,
  checkpoint: checkpoint_networks.CheckpointNetworks,
  batch: int,
) -> None:
  """Traces what draws trajectories."""
  frames, rows, columns = checkpoint.size("strag")
  context = _context(tracing, sample_strag.TEXT, batch)
  pictures = sample_strag.Pictures(
    _array((batch, rows, columns, 3), "uint8"),
    _array((batch, rows, columns)),
    _array((batch, 4)),
    context,
    context,
    _array(sample_strag.latent_shape(batch, frames, rows, columns)),
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
  frames, rows, columns = checkpoint.size("vism")
  context = _context(tracing, sample_vism.TEXT, batch)
  renderings = sample_vism.Renderings(
    _array((batch, frames, rows, columns, 3), "uint8"),
    _array((batch, frames, rows, columns), "bool"),
    _array((batch, rows, columns, 3), "uint8"),
    context,
    context,
    _array(sample_strag.latent_shape(batch, frames, rows, columns)),
  )
  sampler, choices = checkpoint.sampler("vism"), checkpoint.choices("vism")
  list(sample_vism.complete_videos(tracing, [renderings], sampler, choices))


def _context(tracing: _Tracing, stage: stages.Stage, batch: int) -> np.ndarray:
  """Text features of a batch, which take no memory."""
  length = tracing.checkpoint.network(stage.kind).config.text.length
  (context,) = tracing.text_contexts(stage, [_array((length,), "int32")])
  return np.broadcast_to(context, (batch, *context.shape))


def plans(
  find: Callable[[], Mapping[str, store.Network]],
  name: str,
  group: devices.Group,
  only: str = "",
  options: generation.Options = generation.DEFAULT,
) -> list[report.Plan]:
  """Compiles every stage of generation for devices of a group.

  Args:
    find: gives networks by kind, those of `of_size` or of a checkpoint; called
      when the devices are there, as virtual ones must come first.
    name: of them.
    group: of devices.
    only: words of the names of stages that are compiled; all when left out.
    options: how they are run; without a mesh on one of the devices.

  Raises:
    UserError: if no stage has such a name, or there are fewer devices than the
      mesh has.
  """
  opened, remark = devices.open_devices(group)
  found = find()
  kinds = [kind for kind in registry.SAMPLED if kind in found]
  heads = [found[kind].config.dit.num_heads for kind in kinds]
  mesh = generation.lay_out(heads, options.mesh, opened)
  checkpoint = checkpoint_networks.CheckpointNetworks(found, name, mesh=mesh)
  programs_found = [one for _, one in traced(checkpoint, options, kinds)]
  chosen = [program for program in programs_found if only in program.name]
  if not chosen:
    raise errors.UserError(
      f"no stage is called {only!r}: there are "
      f"{', '.join(program.name for program in programs_found)}"
    )
  remarks = [remark] if remark else []
  return [
    report.Plan(
      title=_title(program, name, options),
      group=dataclasses.replace(
        group, chips=max(program.mesh.size // group.kind.devices, 1)
      ),
      figures=programs.compile_program(program),
      remarks=remarks,
      advice="take a larger device or a smaller network",
    )
    for program in chosen
  ]


def _title(
  program: programs.Program, name: str, options: generation.Options
) -> str:
  """A stage, and what was chosen for it."""
  parts = [f"{name}: {program.name}"]
  if program.mesh.size > 1:
    parts.append(f"mesh {report.sizes(program.mesh)}")
  if options.halves != generation.DEFAULT.halves:
    parts.append("halves of guidance in sequence")
  if options.offload:
    parts.append("layers in the host's memory")
  return ", ".join(parts)
