"""Recipes: which records are made and how long each network trains."""

import dataclasses
from collections.abc import Mapping

TASKS = ("video_vae", "depth", "motion_vae", "strag", "vism")


@dataclasses.dataclass(frozen=True)
class RecordSet:
  """One directory of procedural records.

  Attributes:
    count: number of scenes.
    light: one rendered frame plus tracks, instead of every frame and a view.
    seed: first scene seed; the sets of a recipe do not overlap.
  """

  count: int
  light: bool
  seed: int


@dataclasses.dataclass(frozen=True)
class Recipe:
  """A whole training from nothing.

  Attributes:
    size: name in models/variants.py, which also fixes frames and pixels.
    records: directory name -> what is in it.
    steps: task -> number of training steps.
    overrides: task -> config fields that differ from the task's config file.
    generate: extra arguments of `more4d generate` for the photograph.
  """

  size: str
  records: Mapping[str, RecordSet]
  steps: Mapping[str, int]
  overrides: Mapping[str, Mapping[str, str]] = dataclasses.field(
    default_factory=dict
  )
  generate: tuple[str, ...] = ()


def _records(light: int, full: int, held_out: int) -> dict[str, RecordSet]:
  return {
    "light": RecordSet(light, light=True, seed=0),
    "full": RecordSet(full, light=False, seed=1_000_000),
    "held_out": RecordSet(held_out, light=False, seed=2_000_000),
  }


RECIPES: Mapping[str, Recipe] = {
  "nano": Recipe(
    size="nano",
    records=_records(light=8, full=8, held_out=4),
    steps=dict.fromkeys(TASKS, 2),
    overrides={task: {"batch_size": "4"} for task in TASKS},
    generate=("--camera", "static", "--steps", "2"),
  ),
  "demo": Recipe(
    size="tiny",
    records=_records(light=2_000, full=300, held_out=32),
    steps={
      "video_vae": 300,
      "depth": 300,
      "motion_vae": 300,
      "strag": 300,
      "vism": 150,
    },
  ),
  "tiny": Recipe(
    size="tiny",
    records=_records(light=8_000, full=1_000, held_out=64),
    steps={
      "video_vae": 2_000,
      "depth": 2_000,
      "motion_vae": 2_500,
      "strag": 3_000,
      "vism": 1_000,
    },
  ),
}
