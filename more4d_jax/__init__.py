"""One picture and a sentence to a 4D scene and novel-view videos.

`more4d_jax.load(checkpoint)` returns a pipeline; calling it with a picture and
a prompt returns a `Scene`. Both are imported when they are first used, so that
`import more4d_jax` loads no numerical library and touches no device.
"""

import importlib
from typing import Any

__version__ = "0.1.0"
__all__ = ["Scene", "__version__", "load"]

_LAZY = {"load": "more4d_jax.pipeline", "Scene": "more4d_jax.scene"}


def __getattr__(name: str) -> Any:
  if name in _LAZY:
    return getattr(importlib.import_module(_LAZY[name]), name)
  raise AttributeError(f"module 'more4d_jax' has no attribute {name!r}")
