"""Compiled programs kept on disk for the next command.

Only the command line does this; importing the library changes nothing of jax.
"""

import hashlib
import os
import pathlib
import platform
import tempfile

VARIABLE = "MORE4D_CACHE"
_OFF = ("0", "off", "no", "false")
_MAX_BYTES = 4 << 30  # Those used least recently go first.
_MIN_SECONDS = 0.1  # Of compiling; what takes less is not kept.


def use() -> pathlib.Path | None:
  """Lets jax keep what it compiles in the user's cache folder.

  The variable `MORE4D_CACHE` names another folder, or is `off`. A cache of
  jax's own that the user set stays as it is. Programs of this processor only
  run on its like, so each kind of processor has its own folder.

  Returns: the folder; None if nothing is kept, for which a line says why
    unless it was asked for.
  """
  import jax

  wanted = os.environ.get(VARIABLE, "").strip()
  if wanted.lower() in _OFF or jax.config.jax_compilation_cache_dir:
    return None
  folder = _root(wanted) / "programs" / _processor()
  try:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
      pass
  except OSError as error:
    print(
      f"compiled programs are not kept: {folder} cannot be written to "
      f"({error.strerror}); set {VARIABLE} to another folder, or to off",
      flush=True,
    )
    return None
  for name, value in {
    "jax_compilation_cache_dir": str(folder),
    "jax_compilation_cache_max_size": _MAX_BYTES,
    "jax_persistent_cache_min_compile_time_secs": _MIN_SECONDS,
  }.items():
    jax.config.update(name, value)
  return folder


def _root(wanted: str) -> pathlib.Path:
  """The folder that a user names, or the platform's place for caches."""
  if wanted:
    return pathlib.Path(wanted).expanduser()
  import platformdirs

  return platformdirs.user_cache_path("more4d", appauthor=False)


def _processor() -> str:
  """A name for processors that run each other's programs."""
  known = [platform.machine(), platform.processor()]
  try:
    lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
  except OSError:
    lines = []
  known += sorted({x for x in lines if x.startswith(("flags", "Features"))})
  digest = hashlib.sha256("\n".join(known).encode()).hexdigest()[:8]
  return f"{platform.machine()}-{digest}"
