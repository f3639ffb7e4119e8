"""What the figures were measured on."""

import importlib.metadata
import os
import platform

import jax

from benchmarks.device import measuring


def _version(name: str) -> str:
  try:
    return importlib.metadata.version(name)
  except importlib.metadata.PackageNotFoundError:
    return "not installed"


def main() -> None:
  """Prints one line."""
  measuring.reduced(__doc__)
  device = jax.devices()[0]
  measuring.say(
    {
      "device": device.device_kind,
      "devices": jax.device_count(),
      "python": platform.python_version(),
      "cores": os.cpu_count(),
      **{name: _version(name) for name in ("jax", "flax", "torch")},
    }
  )


if __name__ == "__main__":
  main()
