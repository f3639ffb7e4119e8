"""What each stage of generation needs of devices that are not there."""

import dataclasses
from collections.abc import Callable, Mapping

from more4d_jax import (
  checkpoint_networks,
  errors,
  generation,
  generation_programs,
  partitioning,
  registry,
)
from more4d_jax.checkpoints import dtypes, store
from more4d_jax.geometry import motion
from more4d_jax.models import abstract, latent_stats, variants
from more4d_jax.planning import devices, programs, report


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
    **{kind: {} for kind in (*registry.SAMPLED, "depth")},
  }
  found = {}
  for kind, own in metadata.items():
    config = getattr(variant, kind)
    module = registry.NETWORKS[kind].module_class(config)
    params = partitioning.unbox(abstract.boxed_shapes(kind, module))
    found[kind] = store.Network(kind, config, params, {**shared, **own})
  return dtypes.cast(found, dtype)


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
  mesh = generation.lay_out(heads, options, opened)
  checkpoint = checkpoint_networks.CheckpointNetworks(found, name, mesh=mesh)
  work = generation_programs.Work.of(checkpoint, options.batch or 1)
  programs_found = [
    one for _, one in generation_programs.traced(checkpoint, work, options)
  ]
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
