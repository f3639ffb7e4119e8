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
class Stage:
  """One training.

  Attributes:
    name: of its workdir.
    task: of configs/.
    steps: how many.
    records: name of the record set it trains on.
    init_from: task -> name of the stage whose network it takes.
    fields: config fields that differ from the task's config file.
  """

  name: str
  task: str
  steps: int
  records: str
  init_from: Mapping[str, str] = dataclasses.field(default_factory=dict)
  fields: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Recipe:
  """A whole training from nothing.

  Attributes:
    size: name in models/variants.py, which also fixes frames and pixels.
    records: directory name -> what is in it.
    stages: in order; the last one of each task goes into the bundle.
    generate: extra arguments of `more4d generate` for the photograph.
  """

  size: str
  records: Mapping[str, RecordSet]
  stages: tuple[Stage, ...]
  generate: tuple[str, ...] = ()


def _records(light: int, full: int, held_out: int) -> dict[str, RecordSet]:
  return {
    "light": RecordSet(light, light=True, seed=0),
    "full": RecordSet(full, light=False, seed=1_000_000),
    "held_out": RecordSet(held_out, light=False, seed=2_000_000),
  }


def _stages(
  pictures: int, steps: Mapping[str, int], **fields: str
) -> tuple[Stage, ...]:
  """The five tasks; the video VAE learns `pictures` steps of pictures first.

  Args:
    pictures: steps on single pictures.
    steps: task -> steps.
    **fields: config fields of every stage.
  """
  return (
    Stage(
      "video_vae_pictures",
      "video_vae",
      pictures,
      "light",
      fields={
        "batch_size": "16",
        "clip_frames": "1",
        "loss.motion_share": "0",
        "optimizer.learning_rate": "0.003",
        **fields,
      },
    ),
    Stage(
      "video_vae",
      "video_vae",
      steps["video_vae"],
      "full",
      {"video_vae": "video_vae_pictures"},
      # A higher rate undoes what the pictures taught.
      {"optimizer.learning_rate": "0.0003", **fields},
    ),
    Stage("depth", "depth", steps["depth"], "light", fields=fields),
    Stage(
      "motion_vae",
      "motion_vae",
      steps["motion_vae"],
      "light",
      {"video_vae": "video_vae"},
      fields,
    ),
    Stage(
      "strag",
      "strag",
      steps["strag"],
      "light",
      {"motion_vae": "motion_vae"},
      fields,
    ),
    Stage(
      "vism", "vism", steps["vism"], "full", {"video_vae": "video_vae"}, fields
    ),
  )


RECIPES: Mapping[str, Recipe] = {
  "nano": Recipe(
    size="nano",
    records=_records(light=8, full=8, held_out=4),
    stages=_stages(2, dict.fromkeys(TASKS, 2), batch_size="4"),
    generate=("--camera", "static", "--steps", "2"),
  ),
  "demo": Recipe(
    size="tiny",
    records=_records(light=2_000, full=300, held_out=32),
    stages=_stages(
      300,
      {
        "video_vae": 60,
        "depth": 250,
        "motion_vae": 250,
        "strag": 600,
        "vism": 150,
      },
    ),
  ),
  "tiny": Recipe(
    size="tiny",
    records=_records(light=8_000, full=1_000, held_out=64),
    stages=_stages(
      4_000,
      {
        "video_vae": 800,
        "depth": 3_000,
        "motion_vae": 3_000,
        "strag": 5_000,
        "vism": 1_500,
      },
    ),
  ),
}
