"""What makes compiling cheap, which is most of what tests at size nano do.

Programs are compiled with few optimisations. They are not kept for the next
run: with jax's compilation cache a worker once ended without a word, for a
reason that was not found.
"""

import functools
import importlib.util
import mmap
import pathlib

_FEW_OPTIMISATIONS = "--xla_backend_optimization_level=0"
# Emitters of fused loops compile two to four times as long as those before.
_OLD_EMITTERS = "--xla_cpu_use_fusion_emitters=false"


@functools.cache
def flags() -> str:
  """XLA_FLAGS of a process that compiles quickly.

  A flag that a compiler does not know ends its process, so the one that a
  version of jaxlib may lack is looked for in its libraries: as a string of its
  own, for its name alone stays reserved in later versions' messages.
  """
  name = _OLD_EMITTERS.removeprefix("--").partition("=")[0]
  folder = pathlib.Path(importlib.util.find_spec("jaxlib").origin).parent
  string = f"\0{name}\0".encode()
  known = any(_holds(path, string) for path in folder.glob("libjax*.so"))
  return (
    f"{_FEW_OPTIMISATIONS} {_OLD_EMITTERS}" if known else _FEW_OPTIMISATIONS
  )


def _holds(path: pathlib.Path, string: bytes) -> bool:
  with (
    path.open("rb") as file,
    mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
  ):
    return content.find(string) >= 0
