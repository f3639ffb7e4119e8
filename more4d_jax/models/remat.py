"""What of a module's insides stays for the backward pass."""

import flax.linen as nn
import jax

from more4d_jax import partitioning
from more4d_jax.kernels.attention import dispatch

# The longer the list that is kept, the more bytes and the less time.
POLICIES = ("none", "full", "dots", "names", "offload")
# Values that are kept or brought to the host by name: dear to compute again,
# cheap to keep.
NAMES = (dispatch.OUTPUTS,)


def wrapped(
  module: type[nn.Module], policy: str, *, scanned: bool = False
) -> type[nn.Module]:
  """Returns a module that computes its insides again in the backward pass.

  Args:
    module: its inputs are always kept.
    policy: "none" keeps everything, so that nothing is computed again;
      "full" keeps nothing; "dots" keeps products with parameters; "names"
      keeps `NAMES`; "offload" brings `NAMES` to the host's memory and back.
    scanned: whether the module is the body of a scan.

  Raises:
    ValueError: for an unknown policy.
  """
  if policy not in POLICIES:
    raise ValueError(
      f"remat is {policy!r}: choose one of {', '.join(POLICIES)}"
    )
  if policy == "none":
    return module
  known = jax.checkpoint_policies
  kept = {
    "full": None,
    "dots": known.dots_with_no_batch_dims_saveable,
    "names": known.save_only_these_names(*NAMES),
    "offload": known.save_and_offload_only_these_names(
      names_which_can_be_saved=[],
      names_which_can_be_offloaded=list(NAMES),
      offload_src="device",
      offload_dst=partitioning.HOST_MEMORY,
    ),
  }[policy]
  return nn.remat(module, prevent_cse=not scanned, policy=kept)
