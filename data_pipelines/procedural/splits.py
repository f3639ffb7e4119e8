"""Named splits: disjoint ranges of seeds, and the kind of their scenes.

The seeds of every evaluation stand here and nowhere else.
"""

import dataclasses

from data_pipelines.procedural import catalogue, scenes

_UNSEEN_START = 20_000_000
_KIND_STRIDE = 10_000
# Seeds of version 2 lie above all of version 1, whatever is added there.
_SECOND_START = 100_000_000
_SECOND_UNSEEN_START = 120_000_000
_THIRD_START = 200_000_000
_THIRD_MOTION_START = 210_000_000
_PUBLIC_START = 211_000_000
_THIRD_UNSEEN_START = 220_000_000


@dataclasses.dataclass(frozen=True)
class Split:
  """A range of seeds.

  Attributes:
    start: first seed.
    size: number of seeds.
    kind: of the scenes; "all" is the mixture of the version.
    version: of the scenes, see `catalogue.VERSIONS`.
  """

  start: int
  size: int
  kind: str
  version: int = 1

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


def _unseen(start, kinds, suffix, version):
  """Returns the splits that nothing is trained on: the mixture, every kind."""
  return {f"unseen{suffix}": Split(start, _KIND_STRIDE, "all", version)} | {
    f"unseen{suffix}_{kind}": Split(
      start + (number + 1) * _KIND_STRIDE, _KIND_STRIDE, kind, version
    )
    for number, kind in enumerate(kinds)
  }


SPLITS = (
  {
    "train": Split(0, 10_000_000, "all"),
    "motion64": Split(10_000_000, 64, "motion"),
  }
  | _unseen(_UNSEEN_START, scenes.KINDS, "", 1)
  | {"train2": Split(_SECOND_START, 10_000_000, "all", 2)}
  | _unseen(_SECOND_UNSEEN_START, catalogue.SECOND.kinds, "2", 2)
  | {
    "train3": Split(_THIRD_START, 10_000_000, "all", 3),
    "motion64v3": Split(_THIRD_MOTION_START, 64, "motion", 3),
    "public200": Split(_PUBLIC_START, 200, "all", 3),
  }
  | _unseen(_THIRD_UNSEEN_START, catalogue.THIRD.kinds, "3", 3)
)
TRAINING = {1: "train", 2: "train2", 3: "train3"}
"""Version of the scenes -> the split that trainings take their seeds from."""
