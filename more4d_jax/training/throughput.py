"""How fast a training goes, and what it waits for."""

import dataclasses
from collections.abc import Mapping, Sequence

import jax


@dataclasses.dataclass(frozen=True)
class Work:
  """What one step does on all devices together.

  Attributes:
    samples: of a batch.
    tokens: of a sample, that a transformer works on; 0 where there is none.
    operations: of a step, recomputation included; 0 if not counted.
    peak: operations a second that a device can do at most; 0 if not known.
  """

  samples: int
  tokens: int = 0
  operations: float = 0.0
  peak: float = 0.0


def figures(
  work: Work, seconds: float, waited: float, devices: Sequence[jax.Device]
) -> dict[str, float]:
  """Figures of one step.

  Args:
    work: that was done.
    seconds: that the step took, of which the loop
    waited: for its batch.
    devices: all that share the work; those of this process tell their memory.

  Returns: samples and tokens for each second and device, the share of the
    peak that the operations are, the share of time in which the loop waited
    for input, and the most bytes in use on one device so far, each where it
    is known.
  """
  rate = 1.0 / (max(seconds, 1e-9) * len(devices))
  found = {
    "seconds": seconds,
    "input_wait": waited / max(seconds, 1e-9),
    "samples_per_second_and_device": work.samples * rate,
  }
  if work.tokens:
    tokens = work.samples * work.tokens
    found["tokens_per_second_and_device"] = tokens * rate
  if work.operations and work.peak:
    found["utilisation"] = work.operations * rate / work.peak
  held = [one for one in map(_most_bytes, devices) if one]
  if held:
    found["device_bytes"] = float(max(held))
  return found


def _most_bytes(device: jax.Device) -> int:
  if device.process_index != jax.process_index():
    return 0
  stats: Mapping[str, int] = device.memory_stats() or {}
  return stats.get("peak_bytes_in_use", 0)
