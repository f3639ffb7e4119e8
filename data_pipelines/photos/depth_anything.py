"""Depth Anything (Yang et al. 2024) in metres, where transformers is installed.

The networks of version 1 and 2 that were trained for metric depth; the others
give values that fall with distance and have no unit.
"""

import functools
import json
import pathlib
from collections.abc import Callable

import numpy as np
from jaxtyping import Float32, UInt8

from data_pipelines import libraries
from more4d_jax import errors

OWNER = "depth-anything/"
"""What names of its networks on Hugging Face's hub begin with."""
_CONFIG = "config.json"
_TYPE = "depth_anything"
_INSTALL = "pip install torch transformers"


def is_network(name: str) -> bool:
  """Whether it names a network: on the hub, or a folder of its files."""
  config = pathlib.Path(name) / _CONFIG
  if not config.is_file():
    return name.startswith(OWNER)
  try:
    found = json.loads(config.read_text())
  except ValueError:  # Not JSON, or no text.
    return False
  return isinstance(found, dict) and found.get("model_type") == _TYPE


@functools.lru_cache(maxsize=1)
def network(
  name: str,
) -> Callable[[UInt8[np.ndarray, "H W 3"]], Float32[np.ndarray, "H W"]]:
  """A function that gives metres; the first use of a hub's name downloads.

  Args:
    name: on Hugging Face's hub, or of a folder that holds such a network.

  Raises:
    UserError: transformers is not installed, there is no such network, or it
      is none for metric depth.
  """
  user = f"the depth {name!r}"
  torch, device = libraries.torch(user)
  library = libraries.module("transformers", user, _INSTALL)
  try:
    processor = library.AutoImageProcessor.from_pretrained(name)
    model = library.AutoModelForDepthEstimation.from_pretrained(name)
  except (OSError, ValueError) as error:
    raise errors.UserError(
      f"no depth network {name!r} ({' '.join(str(error).split())})"
    ) from error
  if model.config.depth_estimation_type != "metric":
    raise errors.UserError(
      f"{user} gives {model.config.depth_estimation_type} depth; expected a "
      f"network for metres, such as {OWNER}Depth-Anything-V2-Metric-Indoor-"
      "Small-hf"
    )
  model = model.to(device).eval()

  def depth_anything(pixels):
    with torch.no_grad():
      given = processor(images=pixels, return_tensors="pt").to(device)
      (found,) = processor.post_process_depth_estimation(
        model(**given), target_sizes=[pixels.shape[:2]]
      )
    return found["predicted_depth"].float().cpu().numpy()

  return depth_anything
