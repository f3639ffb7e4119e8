"""Flags that say how networks are run, shared by subcommands."""

import dataclasses
from typing import Literal

import jax

from more4d_jax import errors, generation, partitioning
from more4d_jax.cli import progress


@dataclasses.dataclass(frozen=True)
class RunFlags:
  """How networks are run; what they compute stays the same.

  Attributes:
    guidance_halves: both halves of guidance as one batch, or in sequence,
      which takes half the memory for activations.
    mesh: devices to share the work: sizes of axes such as fsdp=4,context=2, or
      auto for all of this process. data divides samples and the halves of
      guidance, fsdp weights, context tokens, tensor heads; one device when
      left out.
    offload: keep the layers of transformers and encoders in the host's memory
      and bring them to the device one after the other, at every step: for a
      network that the device's memory does not hold.
  """

  guidance_halves: Literal["batch", "sequence"] = "batch"
  mesh: str | None = None
  offload: bool = False


DEFAULT = RunFlags()


def options(flags: RunFlags, batch: int | None = None) -> generation.Options:
  """What a pipeline is told; it shows its progress on standard error.

  Args:
    flags: of the user.
    batch: see `generation.Options`.

  Raises:
    UserError: if the mesh makes no sense, or there is nowhere to offload to.
  """
  if flags.offload:
    check_offload(jax.local_devices()[0])
  return generation.Options(
    batch,
    flags.guidance_halves,
    progress.Progress(),
    read_mesh(flags.mesh),
    flags.offload,
  )


def check_offload(device: jax.Device) -> None:
  """Checks that a device has a host whose memory is not its own.

  Raises:
    UserError: if it has none.
  """
  memories = [memory.kind for memory in device.addressable_memories()]
  if device.platform == "cpu":
    reason = "a CPU's memory is the host's"
  elif partitioning.HOST_MEMORY not in memories:
    reason = f"jax knows only {', '.join(memories)} of {device.device_kind}"
  else:
    return
  raise errors.UserError(
    f"--offload has nowhere to keep layers: {reason}; leave it out"
  )


def read_mesh(text: str | None) -> partitioning.MeshConfig | str | None:
  """A mesh as users write it.

  Raises:
    UserError: unless it is "auto" or sizes of axes.
  """
  if text in (None, "auto"):
    return text
  sizes: dict[str, int] = {}
  for item in text.split(","):
    axis, _, size = item.strip().partition("=")
    if (
      axis not in partitioning.MESH_AXES
      or axis in sizes
      or not size.isdecimal()
      or not int(size)
    ):
      raise errors.UserError(
        f"expected --mesh of auto or sizes of "
        f"{', '.join(partitioning.MESH_AXES)}, such as fsdp=4,context=2, found "
        f"{item.strip()!r} in {text!r}"
      )
    sizes[axis] = int(size)
  return partitioning.MeshConfig(**sizes)
