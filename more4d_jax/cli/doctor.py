"""`more4d doctor`: what this machine has, and what is missing."""

import importlib.metadata
import importlib.util
import os
import platform
import shutil

# Library, the distribution that holds it, what it is for, how to get it.
_LIBRARIES = (
  ("jax", "jax", "everything", "pip install more4d_jax"),
  ("flax", "flax", "the networks", "pip install more4d_jax"),
  ("orbax", "orbax-checkpoint", "checkpoints", "pip install more4d_jax"),
  ("av", "av", "reading and writing video", "pip install more4d_jax"),
  ("PIL", "Pillow", "reading pictures", "pip install more4d_jax"),
  ("grain", "grain", "loading records", "pip install more4d_jax"),
  (
    "tensorflow_datasets",
    "tensorflow-datasets",
    "writing records",
    "pip install more4d_jax",
  ),
  ("viser", "viser", "view", "pip install 'more4d_jax[view]'"),
  ("gradio", "gradio", "serve", "pip install 'more4d_jax[serve]'"),
  (
    "tokenizers",
    "tokenizers",
    "captions of converted weights",
    "pip install 'more4d_jax[convert]'",
  ),
  (
    "sentencepiece",
    "sentencepiece",
    "captions of converted weights",
    "pip install 'more4d_jax[convert]'",
  ),
  (
    "gcsfs",
    "gcsfs",
    "runs and records in gs:// buckets",
    "pip install 'more4d_jax[gcs]'",
  ),
  ("mediapy", "mediapy", "notebooks", "pip install 'more4d_jax[view]'"),
  ("pytest", "pytest", "the tests", "pip install 'more4d_jax[test]'"),
)


def doctor() -> None:
  """Prints what this machine has, what runs on it, and what is missing."""
  print(f"python     {platform.python_version()} on {platform.system()}")
  print(f"cores      {os.cpu_count()}")
  print(f"memory     {_memory_gib():.1f} GiB")
  free = shutil.disk_usage(os.getcwd()).free / 2**30
  print(f"disk       {free:.1f} GiB free here")
  missing = []
  for module, distribution, purpose, remedy in _LIBRARIES:
    if importlib.util.find_spec(module) is None:
      missing.append(f"{distribution}, for {purpose}: {remedy}")
    else:
      version = importlib.metadata.version(distribution)
      print(f"{distribution:<22}{version}")
  if importlib.util.find_spec("jax") is not None:
    for line in _devices():
      print(line)
  for line in missing:
    print(f"missing    {line}")
  if not missing:
    print("nothing is missing")


def _memory_gib() -> float:
  return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30


def _devices() -> list[str]:
  """Names the accelerators jax finds and the attention that runs on them."""
  import jax

  try:
    devices = jax.devices()
  except RuntimeError as error:
    first = str(error).splitlines()[0]
    return [f"devices    none usable: {first}"]
  kind = devices[0].device_kind
  lines = [f"devices    {len(devices)} x {kind} ({jax.default_backend()})"]
  lines.extend(_attention())
  if jax.default_backend() == "cpu":
    lines.append(
      "           no accelerator: sizes nano and tiny are meant for this; on "
      "a machine with one, install more4d_jax[gpu] or more4d_jax[tpu]"
    )
  return lines


def _attention() -> list[str]:
  """Which attention "auto" runs at the sizes of the networks."""
  import jax

  from more4d_jax.kernels.attention import dispatch
  from more4d_jax.models import variants

  lines = []
  for name, variant in variants.VARIANTS.items():
    frames, rows, columns = variant.latent_grid
    tokens = (frames + 1) * (rows // 2) * (columns // 2)
    choice = dispatch.choose(
      jax.default_backend(),
      variant.strag.dit.layer.head_dim,
      jax.devices()[0].device_kind,
    )
    lines.append(f"attention  {choice} at size {name} ({tokens} tokens)")
  return lines
