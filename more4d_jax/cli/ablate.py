"""`more4d ablate`: trains every row of the ablations, prints their table.

Autoencoders and latents that rows have in common are made once. The same
command again goes on where it was interrupted: a finished network, a measured
run is not made again.
"""

import gc
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from more4d_jax import errors, evaluate_bundle, pipeline
from more4d_jax.checkpoints import store
from more4d_jax.cli import (
  ablation_rows,
  ablation_table,
  lists,
  outputs,
  plan,
  recipes,
  train_all,
)
from more4d_jax.data import transforms
from more4d_jax.evaluation import track_metrics
from more4d_jax.experiment import run

_SPLIT = "motion64"  # Scenes in which picture and caption tell the motion.
# Trajectories are compared on true depth, which every row is given.
_FIELDS = ("depth.noisy=0.0", "depth.network=0.0", "init_from.depth=")


def ablate(
  *,
  size: str,
  steps: int,
  out: pathlib.Path,
  seeds: int = 3,
  scenes: int = 64,
  rows: lists.Words = (),
) -> None:
  """Trains the variants of the paper's ablations and ours, and compares them.

  Every row has the same records, autoencoder stages, steps, batches and
  seeds. Records and stages are those of the recipe of that size, shortened or
  lengthened as 4D-STraG is. Autoencoders are trained once for each row that
  changes them, 4D-STraG once for each row and seed.

  Args:
    size: of the networks, one that a recipe of `more4d train-all` has.
    steps: of each training of 4D-STraG.
    out: directory of records, runs, ablations.json and ablations.md.
    seeds: trainings of 4D-STraG of each row.
    scenes: held-out scenes that rows are compared on, at most 64.
    rows: names of rows, to train some only; the full method is always there.
  """
  recipe = _recipe(size)
  counts = {"--steps": steps, "--seeds": seeds, "--scenes": scenes}
  for flag, count in counts.items():
    if count < 1:
      raise errors.UserError(f"expected {flag} of at least 1, found {count}")
  known = {row.name: row for row in ablation_rows.ROWS}
  names = set(lists.items(rows, known.__contains__, "--rows")) or set(known)
  if names - set(known):
    raise errors.UserError(
      f"expected --rows of {', '.join(known)}, found "
      f"{', '.join(sorted(names - set(known)))}: choose among them"
    )
  names.add(ablation_rows.BASELINE.name)
  chosen = [row for row in ablation_rows.ROWS if row.name in names]
  outputs.check_folder(out)
  _claim(out, {"size": size, "steps": steps})
  work = _Ablation(recipe, steps, out)
  work.make_records()
  examples = list(_examples(size, scenes))
  measured = {r.name: work.measure(r, seeds, examples) for r in chosen}
  entries = ablation_table.report(measured, chosen)
  made_with = (
    f"Size {size}, {steps} steps of 4D-STraG for each of {seeds} seeds, "
    f"compared on {len(examples)} scenes of {_SPLIT}."
  )
  text = ablation_table.markdown(entries, made_with)
  outputs.write_json(out / "ablations.json", {
    "size": size, "steps": steps, "seeds": seeds, "scenes": len(examples),
    "split": _SPLIT, "rows": entries,
  })  # fmt: skip
  (out / "ablations.md").write_text(text)
  print(text)


def _recipe(size: str) -> recipes.Recipe:
  """The recipe that is made for a size."""
  found = {recipe.size: recipe for recipe in recipes.RECIPES.values()}
  found |= {n: r for n, r in recipes.RECIPES.items() if n == r.size}
  if size not in found:
    raise errors.UserError(
      f"expected a size of {', '.join(sorted(found))}, found {size!r}: sizes "
      "with published weights are trained by main.py and configs/ablations"
    )
  return found[size]


def _claim(out: pathlib.Path, budget: Mapping[str, Any]) -> None:
  """Makes the folder, and notes what its trainings have in common.

  Raises:
    UserError: if it holds trainings of another size or length.
  """
  out.mkdir(parents=True, exist_ok=True)
  found = outputs.read_json(out / "budget.json")
  if found and found != budget:
    raise errors.UserError(
      f"{out} holds an ablation of size {found.get('size')} and "
      f"{found.get('steps')} steps, this one has {budget['size']} and "
      f"{budget['steps']}: name another --out"
    )
  outputs.write_json(out / "budget.json", budget)


class _Ablation:
  """Runs in one folder, of one recipe."""

  def __init__(self, recipe: recipes.Recipe, steps: int, out: pathlib.Path):
    self._recipe, self._out = recipe, out
    (strag,) = (s for s in recipe.stages if s.task == "strag")
    self._strag, self._share = strag, steps / strag.steps

  def _stages(self, task: str) -> list[recipes.Stage]:
    return [stage for stage in self._recipe.stages if stage.task == task]

  def make_records(self) -> None:
    """Makes the record sets that the stages read."""
    stages = [s for t in ("video_vae", "motion_vae") for s in self._stages(t)]
    wanted = {"held_out"}.union(
      *(stage.records.split(",") for stage in [*stages, self._strag])
    )
    folders = [str(self._out / "records" / name) for name in wanted]
    for step in train_all.making(self._recipe, self._out):
      if step.result.exists() or not set(folders) & set(step.command):
        continue
      print(step.title, flush=True)
      train_all.do(step)

  def measure(
    self,
    row: ablation_rows.Row,
    seeds: int,
    examples: Sequence[Mapping[str, Any]],
  ) -> ablation_table.Measured:
    """Trains a row's networks and compares what they draw with the truth."""
    found, motion_vae = [], self._motion_vae(row)
    for seed in range(seeds):
      workdir = self._out / row.name / f"seed_{seed}"
      self._train(row, self._strag, workdir, seed, {"motion_vae": motion_vae})
      file = workdir / "scenes.json"
      figures = outputs.read_json(file)
      if len(figures.get("error", ())) != len(examples):
        figures = _compare(motion_vae, workdir, examples)
        outputs.write_json(file, figures)
      found.append(figures)
      jax.clear_caches()  # Another row has other programs.
      gc.collect()
    sides = [f["right_side"] for f in found]
    return ablation_table.Measured(
      errors=np.array([f["error"] for f in found]),
      still=np.array(found[0]["still"]),
      sides=np.array([np.nan if s is None else s for s in sides], np.float64),
    )

  def _video_vae(self) -> pathlib.Path:
    """Trains the video autoencoder of all rows."""
    before: dict[str, pathlib.Path] = {}
    for stage in self._stages("video_vae"):
      workdir = self._out / stage.name
      self._train(ablation_rows.BASELINE, stage, workdir, 0, before)
      before = {"video_vae": workdir}
    return before["video_vae"]

  def _motion_vae(self, row: ablation_rows.Row) -> pathlib.Path:
    """Trains the row's motion VAE, or the full method's if it is the same."""
    if "motion_vae" not in row.tasks:
      row = ablation_rows.BASELINE
    below = {"video_vae": self._video_vae()}
    for stage in self._stages("motion_vae"):
      workdir = self._out / row.name / stage.name
      self._train(row, stage, workdir, 0, below)
      below["motion_vae"] = workdir
    return below["motion_vae"]

  def _train(
    self,
    row: ablation_rows.Row,
    stage: recipes.Stage,
    workdir: pathlib.Path,
    seed: int,
    below: Mapping[str, pathlib.Path],
  ) -> None:
    """Trains one network unless it is there."""
    if (workdir / "model" / "network.json").is_file():
      return
    steps = max(1, round(stage.steps * self._share))
    fields = {
      **train_all.config_fields(stage, self._out, below),
      "num_steps": steps,
      "seed": seed,
      "evaluation.videos": 0,
      "evaluation.every": 0,
    }
    if stage.task == "strag":
      fields["data.cache"] = self._out / "cache"
    texts = [f"{name}={value}" for name, value in fields.items()]
    texts += _FIELDS if stage.task == "strag" else ()
    config = plan.read_config(
      _config_file(row, stage.task, self._recipe.size), texts
    )
    print(f"{workdir}: {steps} steps", flush=True)
    run.run("train", config, workdir)


def _config_file(row: ablation_rows.Row, task: str, size: str) -> str:
  """What stands after --config for a row's training of a task."""
  import configs

  (folder,) = configs.__path__
  if task not in row.tasks:
    return f"{folder}/{task}.py:size={size}"
  words = [f"size={size}", *filter(None, [row.arguments])]
  words += [f"task={task}"] if row.takes_task else []
  return f"{folder}/ablations/{row.config}.py:{','.join(words)}"


def _examples(size: str, count: int) -> Iterator[Mapping[str, Any]]:
  """Held-out scenes with a moving object, made anew."""
  from data_pipelines.procedural import records, splits
  from more4d_jax.models import variants

  variant, split = variants.get(size), splits.SPLITS[_SPLIT]
  grid = (variant.frames, variant.height, variant.width)
  make = records.RecordOptions(
    *grid, light=True, kind=split.kind, version=split.version
  )
  options = transforms.ExampleOptions(
    frames=grid[0], height=grid[1], width=grid[2]
  )
  for seed in split.part(0, min(count, split.size)):
    example = transforms.scene_example(records.make_record(seed, make), options)
    if evaluate_bundle.object_mask(example).any():
      yield example


def _compare(
  motion_vae: pathlib.Path,
  workdir: pathlib.Path,
  examples: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
  """Draws the scenes once and compares them with the truth.

  Returns: `error` and `still` of each scene in metres, `right_side`.
  """
  motion = store.open_network(motion_vae / "model")
  pipe = pipeline.Pipeline(
    {
      "video_vae": store.Network(
        kind="video_vae",
        config=motion.config.vae,
        params=motion.params["vae"],
        metadata={"latent_stats": motion.metadata["base_latent_stats"]},
      ),
      "motion_vae": motion,
      "strag": store.open_network(workdir / "model"),
    }
  )
  captions = [example["caption"] for example in examples]
  drawn = evaluate_bundle.sample(
    pipe, examples, captions, evaluate_bundle.Options()
  )
  error, still, sides = [], [], []
  for example, tracks in zip(examples, drawn):
    true, mask = example["tracks"], evaluate_bundle.object_mask(example)
    error.append(track_metrics.end_point_error(tracks, true, mask))
    still.append(track_metrics.still_error(true, mask))
    sign = track_metrics.caption_sign(example["caption"])
    if sign:
      moved = track_metrics.mean_horizontal_motion(tracks, mask)
      sides.append(float(sign * moved > 0))
  return {
    "error": error,
    "still": still,
    "right_side": float(np.mean(sides)) if sides else None,
  }
