"""Kinds of devices, and groups of them that a program is planned for.

Sources: cloud.google.com/tpu/docs/v5e, /v5p, /v6e and /tpu7x; NVIDIA's data
sheets of H100 SXM and H200 SXM. A TPU's memory is what its compiler grants.
"""

import dataclasses
import math
import os
import re
from collections.abc import Mapping, Sequence

import jax

from more4d_jax import errors
from more4d_jax.planning import absent_devices

_GIB = 2**30


@dataclasses.dataclass(frozen=True)
class Kind:
  """One kind of chip.

  Attributes:
    label: for people.
    platform: "tpu", "cuda" or "cpu".
    memory: bytes of one device that programs may use.
    peak: operations per second of one device in bfloat16; 0 if not known.
    bandwidth: bytes per second between one device and its memory.
    link: bytes per second that one device receives from others.
    devices: of jax, on one chip.
    layouts: number of chips -> shape of the slice; none for other platforms.
    official: Google's name of a slice, of the number of chips.
  """

  label: str
  platform: str
  memory: int
  peak: float = 0.0
  bandwidth: float = 0.0
  link: float = 0.0
  devices: int = 1
  layouts: Mapping[int, str] = dataclasses.field(default_factory=dict)
  official: str = ""


def _flat(*sides: tuple[int, int]) -> dict[int, str]:
  return {a * b: f"{a}x{b}" for a, b in sides}


_FLAT = _flat((2, 2), (2, 4), (4, 4), (4, 8), (8, 8), (8, 16), (16, 16))
_DEEP = {
  math.prod(sides): "x".join(map(str, sides))
  for sides in (
    (2, 2, 1),
    (2, 2, 2),
    (2, 2, 4),
    (2, 4, 4),
    (4, 4, 4),
    (4, 4, 8),
    (4, 8, 8),
    (8, 8, 8),
  )
}

KINDS: Mapping[str, Kind] = {
  "v5e": Kind(
    "TPU v5e",
    "tpu",
    int(15.75 * _GIB),
    197e12,
    819e9,
    100e9,
    layouts=_FLAT,
    official="v5litepod-{chips}",
  ),
  "v5p": Kind(
    "TPU v5p",
    "tpu",
    int(95.74 * _GIB),
    459e12,
    2765e9,
    300e9,
    layouts=_DEEP,
    official="v5p-{cores}",
  ),
  "v6e": Kind(
    "TPU v6e",
    "tpu",
    int(31.25 * _GIB),
    918e12,
    1638e9,
    200e9,
    layouts=_FLAT,
    official="v6e-{chips}",
  ),
  "tpu7x": Kind(
    "TPU7x",
    "tpu",
    int(94.75 * _GIB),
    1153.5e12,
    3690e9,
    300e9,
    devices=2,
    layouts=_DEEP,
    official="tpu7x-{cores}",
  ),
  "h100": Kind(
    "NVIDIA H100 80GB", "cuda", int(78 * _GIB), 989e12, 3352e9, 450e9
  ),
  "h200": Kind(
    "NVIDIA H200 141GB", "cuda", int(138 * _GIB), 989e12, 4800e9, 450e9
  ),
  "cpu": Kind("virtual CPU device", "cpu", 0),
}


# Kind -> what jax's name of its devices starts with, the longer ones first.
_STARTS = {
  "v5e": "TPU v5 lite",
  "v5p": "TPU v5",
  "v6e": "TPU v6 lite",
  "tpu7x": "TPU7x",
  "h100": "NVIDIA H100 80GB",
  "h200": "NVIDIA H200",
  "cpu": "cpu",
}


@dataclasses.dataclass(frozen=True)
class Group:
  """Devices of one kind, as "v5p-64" names them.

  Attributes:
    name: as the user wrote it.
    kind: of the chips.
    chips: how many.
    present: the devices themselves, where this process has them.
  """

  name: str
  kind: Kind
  chips: int
  present: Sequence[jax.Device] = ()

  @property
  def count(self) -> int:
    """Devices of jax."""
    return self.chips * self.kind.devices

  @property
  def memory(self) -> int:
    """Bytes of one device; virtual ones share the machine's."""
    return self.kind.memory or machine_memory() // self.count

  @property
  def layout(self) -> str:
    """The slice's shape; the smallest one where only a part of it is used."""
    larger = [n for n in self.kind.layouts if n >= self.chips]
    return self.kind.layouts[min(larger)] if larger else ""

  def describe(self) -> str:
    """What these devices are, and what they are called elsewhere."""
    text = f"{self.count} x {self.kind.label}"
    if self.chips in self.kind.layouts:
      official = self.kind.official.format(
        chips=self.chips, cores=2 * self.chips
      )
      text += f" (slice {self.layout}, Google's name {official})"
    elif self.layout:
      text += f" (a part of slice {self.layout})"
    return f"{text}, {self.memory / _GIB:.1f} GiB each"


def machine_memory() -> int:
  """Bytes of memory of this machine."""
  return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def parse(text: str) -> Group:
  """Reads a kind and a number of chips, as "v5p-64".

  Raises:
    UserError: for an unknown kind, or a number that there is no slice of.
  """
  match = re.fullmatch(r"([a-z0-9]+)-([1-9]\d{0,4})", text)
  if not match or match[1] not in KINDS:
    raise errors.UserError(
      f"devices are {text!r}: expected one of {', '.join(KINDS)} and a number "
      "of chips, as in v5p-64"
    )
  kind, chips = KINDS[match[1]], int(match[2])
  smallest = min(kind.layouts, default=0)
  if kind.layouts and chips > smallest and chips not in kind.layouts:
    raise errors.UserError(
      f"devices are {text!r}: {kind.label} comes in slices of "
      f"{', '.join(map(str, kind.layouts))} chips"
    )
  hosts = chips / absent_devices.GPUS_OF_A_HOST
  if kind.platform == "cuda" and hosts > 1 and hosts % 1:
    raise errors.UserError(
      f"devices are {text!r}: expected up to "
      f"{absent_devices.GPUS_OF_A_HOST} GPUs, or a multiple of them"
    )
  return Group(text, kind, chips)


def here() -> Group:
  """All devices of this process's backend."""
  found = jax.devices()
  text, platform = found[0].device_kind, found[0].platform
  names = [name for name, start in _STARTS.items() if text.startswith(start)]
  if names:
    name = names[0]
    kind = KINDS[name]
  else:
    stats = found[0].memory_stats() or {}
    name = platform
    kind = Kind(text, platform, stats.get("bytes_limit", 0))
  chips = len(found) // kind.devices
  return Group(f"{name}-{chips}", kind, chips, tuple(found))


def open_devices(group: Group) -> tuple[Sequence[jax.Device], str]:
  """Devices to compile for.

  Returns: the devices, and a remark where virtual ones stand for them, which
    is empty otherwise.

  Raises:
    UserError: if there are too few virtual devices.
  """
  if group.present:
    return group.present, ""
  remedy = absent_devices.missing_compiler(group.kind.platform)
  if group.kind.platform == "cpu" or remedy:
    found = virtual_devices(group.count)
    remark = (
      f"the compiler for {group.kind.label} is not installed ({remedy}): "
      "compiled for virtual CPU devices, whose temporaries are other ones"
    )
    return found, remark if remedy else ""
  if group.kind.platform == "tpu":
    name = f"{group.name.partition('-')[0]}:{group.layout}"
    return absent_devices.tpu_devices(name)[: group.count], ""
  name = group.name.partition("-")[0]
  return absent_devices.hopper_devices(group.count, name), ""


def virtual_devices(count: int) -> Sequence[jax.Device]:
  """CPU devices that share this machine.

  Raises:
    UserError: if jax was started with fewer.
  """
  try:
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", count)
  except RuntimeError:  # Devices have been opened before.
    pass
  found = jax.devices("cpu")
  if len(found) < count:
    raise errors.UserError(
      f"{count} virtual devices are wanted, but this process has {len(found)}: "
      "set XLA_FLAGS=--xla_force_host_platform_device_count="
      f"{count}"
    )
  return found[:count]
