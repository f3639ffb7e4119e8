"""What a train step keeps, and in how many bits."""

import dataclasses
from typing import Any

from more4d_jax.models import remat

DTYPES = ("float32", "bfloat16")
MOMENTS = ("float32", "bfloat16", "8bit")
PLACES = ("device", "host")


def _free(default: Any) -> Any:
  """A field that a later start of a run may give another value."""
  return dataclasses.field(default=default, metadata={"may_change": True})


@dataclasses.dataclass(frozen=True)
class MemoryConfig:
  """What keeps a step small. The defaults are the exact and the plain ways.

  Attributes:
    remat: what of a layer's insides the backward pass finds: "none" (all of
      it, nothing is computed again), "full" (nothing), "dots" (products with
      parameters), "names" (what attention gives), "offload" (the same, in the
      host's memory).
    accumulate: equal parts of a batch that a step works through one after
      the other; each counts alike.
    parameters: type of the trained matrices; updates of bfloat16 ones are
      rounded stochastically.
    moments: AdamW's of matrices: "float32", "bfloat16", or "8bit" (a sign and
      a logarithm), the latter two rounded stochastically.
    average: where the averaged parameters lie, "device" or "host".
  """

  remat: str = _free("none")
  accumulate: int = _free(1)
  parameters: str = "float32"
  moments: str = "float32"
  average: str = _free("device")

  def __post_init__(self) -> None:
    choices = {
      "remat": remat.POLICIES,
      "parameters": DTYPES,
      "moments": MOMENTS,
      "average": PLACES,
    }
    for name, known in choices.items():
      if getattr(self, name) not in known:
        raise ValueError(
          f"{name} is {getattr(self, name)!r}: choose one of {', '.join(known)}"
        )
    if self.accumulate < 1:
      raise ValueError(
        f"accumulate is {self.accumulate}: expected at least 1, for a batch "
        "that is worked through at once"
      )
