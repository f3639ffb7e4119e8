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

from more4d_jax import errors, generation, partitioning, registry
from more4d_jax.checkpoints import dtypes
from more4d_jax.geometry import motion
from more4d_jax.models import abstract, latent_stats, quantised, variants
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
    kinds: kind of network -> its module and the boxed shapes of its parameters.
    offload: whether layers lie in the host's memory.
    found: programs in the order in which they would run.
  """

  kinds: Mapping[str, tuple[Any, Any]] = dataclasses.field(default_factory=dict)
  offload: bool = False
  found: list[programs.Program] = dataclasses.field(default_factory=list)

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
    self.found.append(
      programs.Program(
        name=_name(model, program),
        mesh=self.mesh,
        trace=lambda: traced,
        held={"parameters": model, "inputs": rest},
      )
    )
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
    module, shapes = self.kinds[kind]
    row = registry.NETWORKS[kind]
    tops = {
      path.partition("/")[0]
      for name in (parts or row.parts)
      for path in row.parts[name]
    }
    kept = matching.flatten(
      {name: tree for name, tree in shapes.items() if name in tops}
    )
    params = {path: self._parameter(path, kept) for path in kept}
    stats = latent_stats.identity(16) if kind.endswith("vae") else None
    yield networks.BoundModule(matching.unflatten(params), module, stats)

  def _parameter(
    self, path: str, boxed: Mapping[str, Any]
  ) -> jax.ShapeDtypeStruct:
    leaf = partitioning.unbox(boxed[path])
    spec = abstract.sharding(path, leaf.shape, boxed, self.mesh).spec
    waits = self.offload and abstract.is_layers(path)
    memory = partitioning.HOST_MEMORY if waits else "device"
    sharding = self.placed(spec, memory)
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)


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


def _kinds(variant: variants.Variant, dtype: str) -> dict[str, tuple[Any, Any]]:
  """Kind -> module and boxed shapes of its parameters.

  Autoencoders stay in float32, as when a checkpoint is loaded.
  """
  found = {}
  for kind in ("video_vae", "motion_vae", *registry.SAMPLED):
    config = dtypes.computing_in(getattr(variant, kind), dtypes.products(dtype))
    module = registry.NETWORKS[kind].module_class(config)
    shapes = abstract.boxed_shapes(kind, module)
    if kind in registry.SAMPLED:
      stored = dtypes.STORED[dtypes.products(dtype)]
      shapes = jax.tree.map(
        lambda leaf, stored=stored: jax.ShapeDtypeStruct(leaf.shape, stored),
        shapes,
      )
      if dtype == dtypes.INT8:
        shapes = quantised.shapes(shapes)
    found[kind] = module, shapes
  return found


def traced(
  size: str,
  devices_found: Sequence[jax.Device],
  dtype: str,
  options: generation.Options = generation.DEFAULT,
) -> list[programs.Program]:
  """The programs of one scene and one film, in the order in which they run.

  Args:
    size: of the networks, a name of `models.variants`.
    devices_found: where they run.
    dtype: how transformers and encoders are held, one of `dtypes.Held`.
    options: how they are run.
  """
  variant = variants.get(size)
  heads = [getattr(variant, kind).dit.num_heads for kind in registry.SAMPLED]
  tracing = _Tracing(
    lend=lambda *_: None,
    mesh=generation.lay_out(heads, options.mesh, devices_found),
    halves=options.halves,
    kinds=_kinds(variant, dtype),
    offload=options.offload,
  )
  tracing = dataclasses.replace(tracing, lend=tracing.lend_shapes)
  frames, rows, columns = variant.frames, variant.height, variant.width
  picture = _array((1, rows, columns, 3), "uint8")
  sampler = sampler_options.SamplerConfig()
  contexts = {}
  for stage in (sample_strag.TEXT, sample_vism.TEXT):
    length = getattr(variant, stage.kind).text.length
    (context,) = tracing.text_contexts(stage, [_array((length,), "int32")])
    contexts[stage.kind] = context[None]
  shape = sample_strag.latent_shape(1, frames, rows, columns)
  pictures = sample_strag.Pictures(
    picture,
    _array((1, rows, columns)),
    _array((1, 4)),
    contexts["strag"],
    contexts["strag"],
    _array(shape),
  )
  settings = sample_strag.Settings(motion.MotionNormalisation("depth"), sampler)
  list(sample_strag.sample_tracks(tracing, [pictures], settings))
  renderings = sample_vism.Renderings(
    _array((1, frames, rows, columns, 3), "uint8"),
    _array((1, frames, rows, columns), "bool"),
    picture,
    contexts["vism"],
    contexts["vism"],
    _array(shape),
  )
  list(sample_vism.complete_videos(tracing, [renderings], sampler))
  return tracing.found


def plans(
  size: str,
  group: devices.Group,
  dtype: str,
  only: str = "",
  options: generation.Options = generation.DEFAULT,
) -> list[report.Plan]:
  """Compiles every stage of generation for devices of a group.

  Args:
    size: of the networks.
    group: of devices.
    dtype: one of `dtypes.Held`.
    only: words of the names of stages that are compiled; all when left out.
    options: how they are run; without a mesh on one of the devices.

  Raises:
    UserError: if no stage has such a name, the size or dtype is unknown, or
      there are fewer devices than the mesh has.
  """
  if size not in variants.VARIANTS:
    raise errors.UserError(
      f"--size is {size!r}: choose one of {', '.join(variants.VARIANTS)}"
    )
  dtypes.check(dtype)
  opened, remark = devices.open_devices(group)
  found = traced(size, opened, dtype, options)
  chosen = [program for program in found if only in program.name]
  if not chosen:
    raise errors.UserError(
      f"no stage is called {only!r}: there are "
      f"{', '.join(program.name for program in found)}"
    )
  remarks = [remark] if remark else []
  return [
    report.Plan(
      title=_title(program, size, dtype, options),
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
  program: programs.Program, size: str, dtype: str, options: generation.Options
) -> str:
  """A stage, and what was chosen for it."""
  parts = [f"{size} {dtype}: {program.name}"]
  if program.mesh.size > 1:
    parts.append(f"mesh {report.sizes(program.mesh)}")
  if options.halves != generation.DEFAULT.halves:
    parts.append("halves of guidance in sequence")
  if options.offload:
    parts.append("layers in the host's memory")
  return ", ".join(parts)
