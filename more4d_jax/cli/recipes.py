"""Recipes: which records are made and how long each network trains."""

import dataclasses
from collections.abc import Iterator, Mapping

from more4d_jax import registry

TASKS = tuple(registry.NETWORKS)


@dataclasses.dataclass(frozen=True)
class RecordSet:
  """One directory of procedural records.

  Attributes:
    count: number of scenes.
    light: one rendered frame plus tracks, instead of every frame and a view.
    seed: first scene seed; the sets of a recipe do not overlap.
    version: of the scenes, as in `more4d data make`.
    scenes: which kinds of them, likewise.
  """

  count: int
  light: bool
  seed: int
  version: int = 1
  scenes: str = "all"


@dataclasses.dataclass(frozen=True)
class Stage:
  """One training.

  Attributes:
    name: of its workdir.
    task: of configs/.
    steps: how many.
    records: names of the record sets it trains on, separated by commas.
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
    evaluate: arguments of `more4d evaluate` for the bundle; none: it is not
      evaluated.
  """

  size: str
  records: Mapping[str, RecordSet]
  stages: tuple[Stage, ...]
  generate: tuple[str, ...] = ()
  evaluate: tuple[str, ...] = ()


def _records(light: int, full: int, held_out: int) -> dict[str, RecordSet]:
  """Scenes of version 1, on which these recipes were measured."""
  return {
    "light": RecordSet(light, light=True, seed=0),
    "full": RecordSet(full, light=False, seed=1_000_000),
    "held_out": RecordSet(held_out, light=False, seed=2_000_000),
  }


# Sampling sees what the depth network says.
_SEEN_DEPTH = {"depth__noisy": "0.3", "depth__network": "0.4"}


@dataclasses.dataclass(frozen=True)
class _Sources:
  """Names of the record sets that stages train on, separated by commas.

  Attributes:
    pictures: of pictures and depth.
    tracks: of trajectories.
    films: of films.
  """

  pictures: str = "light"
  tracks: str = "light"
  films: str = "full"


def _stages(
  steps: Mapping[str, int],
  strag_scenes: int = 0,
  sources: _Sources | None = None,
  **fields: str,
) -> tuple[Stage, ...]:
  """The five tasks; two of them learn something easier first.

  The video VAE learns single pictures before clips, at a rate that does not
  undo what they taught; the motion VAE windows around what moves before whole
  pictures.

  Args:
    steps: name of the stage -> steps; other stages are left out.
    strag_scenes: number of scenes that STraG trains on, the first ones, whose
      latents are made first; 0 means all.
    sources: of the records.
    **fields: config fields of every stage.
  """
  return tuple(
    dataclasses.replace(
      stage, steps=steps[stage.name], fields={**stage.fields, **fields}
    )
    for stage in _in_order(sources or _Sources(), strag_scenes)
    if stage.name in steps
  )


def _stage(
  name: str,
  records: str,
  init_from: Mapping[str, str] | None = None,
  task: str | None = None,
  **changes: str,
) -> Stage:
  """A stage whose steps are not known yet; `a__b` is the field a.b."""
  fields = {key.replace("__", "."): value for key, value in changes.items()}
  return Stage(name, task or name, 0, records, init_from or {}, fields)


def _in_order(sources: _Sources, strag_scenes: int) -> Iterator[Stage]:
  """What is trained after what."""
  yield _stage(
    "video_vae_pictures",
    sources.pictures,
    task="video_vae",
    batch_size="16",
    clip_frames="1",
    loss__motion_share="0",
    optimizer__learning_rate="0.003",
  )
  yield _stage(
    "video_vae",
    sources.films,
    {"video_vae": "video_vae_pictures"},
    optimizer__learning_rate="0.0003",
  )
  # What procedural records do not know the depth of is sky.
  yield _stage("depth", sources.pictures, loss__shape="0.5", loss__sky="0.3")
  yield _stage(
    "motion_vae_windows",
    sources.tracks,
    {"video_vae": "video_vae"},
    task="motion_vae",
    statistics_records="16",  # Those of the whole pictures count.
  )
  yield _stage(
    "motion_vae",
    sources.tracks,
    {"video_vae": "video_vae", "motion_vae": "motion_vae_windows"},
    window="0",
    optimizer__learning_rate="0.0006",
  )
  yield _stage(
    "strag",
    sources.tracks,
    {"motion_vae": "motion_vae", "depth": "depth"},
    **_SEEN_DEPTH,
    data__limit=str(strag_scenes),
  )
  yield _stage("vism", sources.films, {"video_vae": "video_vae"})


STAGES = tuple(stage.name for stage in _in_order(_Sources(), 0))

RECIPES: Mapping[str, Recipe] = {
  "nano": Recipe(
    size="nano",
    records=_records(light=8, full=8, held_out=4),
    stages=_stages(dict.fromkeys(STAGES, 2), batch_size="4"),
    generate=("--camera", "static", "--steps", "2"),
  ),
  "demo": Recipe(
    size="tiny",
    records=_records(light=2_000, full=300, held_out=32),
    stages=_stages(
      {
        "video_vae_pictures": 300,
        "video_vae": 60,
        "depth": 250,
        "motion_vae_windows": 150,
        "motion_vae": 20,
        "strag": 400,
        "vism": 150,
      },
      strag_scenes=1_200,
    ),
  ),
  "tiny": Recipe(
    size="tiny",
    records=_records(light=8_000, full=1_000, held_out=64),
    stages=_stages(
      {
        "video_vae_pictures": 2_500,
        "video_vae": 200,
        "depth": 2_000,
        "motion_vae_windows": 2_000,
        "motion_vae": 300,
        "strag": 1_500,
        "vism": 600,
      },
      strag_scenes=3_000,
    ),
  ),
  # What more4d_jax/bundled/ holds. View completion is left out: at this size
  # it blurs holes more than the colours behind them do.
  "bundled": Recipe(
    size="mini",
    records={
      "photographic": RecordSet(5_000, light=True, seed=0, version=3),
      "light": RecordSet(2_500, light=True, seed=0, version=2),
      "sliding_photographic": RecordSet(
        500, light=True, seed=3_000_000, version=3, scenes="motion"
      ),
      "sliding": RecordSet(
        2_500, light=True, seed=3_000_000, version=2, scenes="motion"
      ),
      "full": RecordSet(100, light=False, seed=1_000_000, version=2),
      "full_photographic": RecordSet(
        60, light=False, seed=1_000_000, version=3
      ),
      "held_out": RecordSet(24, light=False, seed=2_000_000, version=3),
    },
    stages=_stages(
      {
        "video_vae_pictures": 800,
        "video_vae": 100,
        "depth": 1_500,
        "motion_vae_windows": 1_100,
        "motion_vae": 30,
        "strag": 3_000,
      },
      strag_scenes=3_000,
      sources=_Sources(
        pictures="photographic,light",
        tracks="sliding_photographic,sliding,photographic,light",
        films="full_photographic,full",
      ),
    ),
    evaluate=("--split", "photographic"),
  ),
  # For one consumer GPU, see docs/training.md; not run yet.
  "small": Recipe(
    size="small",
    records=_records(light=20_000, full=4_000, held_out=64),
    stages=_stages(
      {
        "video_vae_pictures": 6_000,
        "video_vae": 2_000,
        "depth": 4_000,
        "motion_vae_windows": 6_000,
        "motion_vae": 2_000,
        "strag": 10_000,
        "vism": 4_000,
      },
    ),
  ),
}
