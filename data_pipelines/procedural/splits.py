"""Named splits: disjoint ranges of seeds, and the kind of their scenes.

The seeds of every evaluation stand here and nowhere else.
"""

import dataclasses

from data_pipelines.procedural import scenes

_UNSEEN_START = 20_000_000
_KIND_STRIDE = 10_000


@dataclasses.dataclass(frozen=True)
class Split:
  """A range of seeds.

  Attributes:
    start: first seed.
    size: number of seeds.
    kind: of the scenes, see `scenes.KINDS`; "all" is the mixture.
  """

  start: int
  size: int
  kind: str

  @property
  def seeds(self) -> range:
    """Returns the seeds."""
    return range(self.start, self.start + self.size)

  def part(self, offset: int, count: int) -> range:
    """Returns `count` seeds from `offset` on.

    Raises:
      ValueError: the split has fewer seeds.
    """
    if offset < 0 or count < 0 or offset + count > self.size:
      raise ValueError(
        f"expected {count} seeds from {offset} on within 0 to {self.size}; "
        "choose a smaller count or offset"
      )
    return self.seeds[offset : offset + count]


SPLITS = {
  "train": Split(0, 10_000_000, "all"),
  "motion64": Split(10_000_000, 64, "motion"),
  "unseen": Split(_UNSEEN_START, _KIND_STRIDE, "all"),
} | {
  f"unseen_{kind}": Split(
    _UNSEEN_START + (number + 1) * _KIND_STRIDE, _KIND_STRIDE, kind
  )
  for number, kind in enumerate(scenes.KINDS)
}
