"""What makes compiling cheap, which is most of what tests at size nano do.

Programs are compiled with few optimisations, and what was compiled once is
kept for the next run in `.jax_cache`, by jax's version and by what the
processor can do; `make clean` removes it.
"""

import functools
import importlib.metadata
import importlib.util
import mmap
import pathlib
import platform
import zlib

_ROOT = pathlib.Path(__file__).parents[1]
_FEW_OPTIMISATIONS = "--xla_backend_optimization_level=0"
# Emitters of fused loops compile two to four times as long as those before.
_OLD_EMITTERS = "--xla_cpu_use_fusion_emitters=false"
_PROCESSOR = pathlib.Path("/proc/cpuinfo")


@functools.cache
def flags() -> str:
  """XLA_FLAGS of a process that compiles quickly.

  A flag that a compiler does not know ends its process, so the one that a
  version of jaxlib may lack is looked for in its libraries.
  """
  name = _OLD_EMITTERS.removeprefix("--").partition("=")[0].encode()
  folder = pathlib.Path(importlib.util.find_spec("jaxlib").origin).parent
  known = any(_holds(path, name) for path in folder.glob("libjax*.so"))
  return (
    f"{_FEW_OPTIMISATIONS} {_OLD_EMITTERS}" if known else _FEW_OPTIMISATIONS
  )


def _holds(path: pathlib.Path, name: bytes) -> bool:
  with (
    path.open("rb") as file,
    mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
  ):
    return content.find(name) >= 0


def cache_settings() -> dict[str, str]:
  """Environment of jax's compilation cache.

  Programs hold instructions of the processor they were compiled on, and a
  folder may be shared by machines.
  """
  processor = platform.machine().encode()
  if _PROCESSOR.exists():
    lines = _PROCESSOR.read_bytes().splitlines()
    processor += next((x for x in lines if x.startswith(b"flags")), b"")
  version = importlib.metadata.version("jaxlib")
  folder = _ROOT / ".jax_cache" / f"{version}-{zlib.crc32(processor):08x}"
  return {
    "JAX_COMPILATION_CACHE_DIR": str(folder),
    # What compiles faster than this, in seconds, is not worth a file.
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
  }
