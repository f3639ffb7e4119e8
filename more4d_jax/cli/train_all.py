"""`more4d train-all`: records, trainings, one bundle, figures, one scene.

Every step is a command that a user could type; it is printed before it runs.
A step whose result exists is not run again, and the steps themselves resume,
so that an interrupted recipe continues where it stopped.
"""

import dataclasses
import pathlib
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from more4d_jax import errors
from more4d_jax.cli import recipes
from more4d_jax.data import record_directory
from more4d_jax.models import variants

_PROMPT = "a red ball slides slowly to the left"
_MORE4D = (sys.executable, "-m", "more4d_jax.cli.main")


@dataclasses.dataclass(frozen=True)
class Step:
  """One command and the file or directory that says it has finished."""

  title: str
  command: tuple[str, ...]
  result: pathlib.Path


def train_all(
  *,
  recipe: str,
  out: pathlib.Path,
  image: pathlib.Path | None = None,
  prompt: str = _PROMPT,
) -> None:
  """Makes records, trains the five networks, bundles them, makes a scene.

  Args:
    recipe: "demo" (minutes), "tiny" (hours), "bundled" (hours; the model that
      ships with the package), "small" (hours of one consumer GPU) or "nano" (a
      plumbing test).
    out: directory for records, workdirs, the bundle and the scene.
    image: the picture of the scene; a photograph that ships inside
      scikit-image when left out.
    prompt: what should move in it.
  """
  if recipe not in recipes.RECIPES:
    raise errors.UserError(
      f"expected a recipe of {sorted(recipes.RECIPES)}, found {recipe!r}:"
      " choose one of them"
    )
  out.mkdir(parents=True, exist_ok=True)
  picture = image or _photograph(out)
  chosen = recipes.RECIPES[recipe]
  steps = list(making(chosen, out))
  steps += _steps(chosen, out, picture, prompt)
  started = time.monotonic()
  for number, step in enumerate(steps, start=1):
    head = f"[{number}/{len(steps)}] {step.title}"
    if step.result.exists():
      print(f"{head}: done before ({step.result})", flush=True)
      continue
    print(f"{head}\n    {shlex.join(step.command)}", flush=True)
    do(step)
    elapsed = (time.monotonic() - started) / 60
    print(f"{head}: finished, {elapsed:.1f} minutes so far", flush=True)
  _report(out, recipe)


def making(recipe: recipes.Recipe, out: pathlib.Path) -> Iterator[Step]:
  """The commands that make the records."""
  variant = variants.get(recipe.size)
  for name, records in recipe.records.items():
    target = out / "records" / name
    yield Step(
      f"{records.count} {'light' if records.light else 'full'} scenes of"
      f" version {records.version}",
      (
        *_MORE4D, "data", "make", "--kind", "procedural",
        "--count", str(records.count), "--frames", str(variant.frames),
        "--height", str(variant.height), "--width", str(variant.width),
        "--seed", str(records.seed), "--out", str(target),
        *(("--light",) if records.light else ("--views", "1")),
        "--scenes", records.scenes, "--version", str(records.version),
      ),
      record_directory.named(target, "procedural") / "manifest.json",
    )  # fmt: skip


def _steps(
  recipe: recipes.Recipe, out: pathlib.Path, image: pathlib.Path, prompt: str
) -> Iterator[Step]:
  """The commands that train, bundle and make a scene."""
  for stage in recipe.stages:
    yield _training(recipe.size, stage, out)
  bundle = out / "bundle"
  trained = {stage.task for stage in recipe.stages}
  workdirs = [str(out / task) for task in recipes.TASKS if task in trained]
  yield Step(
    f"one checkpoint of the {len(workdirs)} networks",
    (*_MORE4D, "bundle", "--workdir", *workdirs, "--out", str(bundle)),
    bundle / "model.json",
  )
  if recipe.evaluate:
    figures = out / "figures.json"
    yield Step(
      "figures of the checkpoint",
      (
        *_MORE4D, "evaluate", "--checkpoint", str(bundle), "--out",
        str(figures), *recipe.evaluate,
      ),
      figures,
    )  # fmt: skip
  scene = out / "scene"
  yield Step(
    f"a 4D scene of {image.name}: {prompt!r}",
    (
      *_MORE4D, "generate", "--image", str(image), "--prompt", prompt,
      "--checkpoint", str(bundle), "--out", str(scene), *recipe.generate,
    ),
    scene / "summary.json",
  )  # fmt: skip


def config_fields(
  stage: recipes.Stage, out: pathlib.Path, below: Mapping[str, pathlib.Path]
) -> dict[str, Any]:
  """What of a stage's configuration differs from the task's, but its steps.

  Args:
    stage: of a recipe.
    out: directory in which the recipe's records are.
    below: kind -> directory of the networks that it takes.
  """
  sets = [str(out / "records" / name) for name in stage.records.split(",")]
  return {
    "data.records": ",".join(sets),
    "data.held_out": out / "records" / "held_out",
    **{f"init_from.{kind}": place for kind, place in below.items()},
    **stage.fields,
  }


def _training(size: str, stage: recipes.Stage, out: pathlib.Path) -> Step:
  below = {kind: out / name for kind, name in stage.init_from.items()}
  fields = {"num_steps": stage.steps, **config_fields(stage, out, below)}
  main = _main_file()
  return Step(
    f"{stage.name}: {stage.steps} training steps",
    (
      sys.executable,
      str(main),
      f"--config={main.parent / 'configs' / stage.task}.py:size={size}",
      f"--workdir={out / stage.name}",
      *(f"--config.{name}={value}" for name, value in fields.items()),
    ),
    out / stage.name / "model" / "network.json",
  )


def _main_file() -> pathlib.Path:
  path = pathlib.Path(__file__).parents[2] / "main.py"
  if not path.exists():
    raise errors.UserError(
      f"expected main.py beside the package, found none at {path}: run"
      " train-all from a clone of the repository installed with pip -e"
    )
  return path


def _photograph(out: pathlib.Path) -> pathlib.Path:
  """Writes the cup of coffee that ships inside scikit-image."""
  import skimage.data
  import skimage.io

  path = out / "coffee.png"
  if not path.exists():
    skimage.io.imsave(path, skimage.data.coffee())
  return path


def do(step: Step) -> None:
  """Runs a step.

  Raises:
    UserError: if it does not leave its result.
  """
  status = subprocess.run(step.command, check=False).returncode
  # A training that SIGTERM stopped says 0, and has no result.
  if status or not step.result.exists():
    raise errors.UserError(
      f"expected {step.title!r} to finish, found exit status {status}:"
      " its message stands above; the same command goes on from here"
    )


def _report(out: pathlib.Path, recipe: str) -> None:
  scene = out / "scene"
  results: Sequence[pathlib.Path] = sorted(scene.iterdir())
  print("\nResults:")
  for path in results:
    print(f"  {path}")
  quality = {
    "nano": "It shows that the parts fit together, nothing more.",
    "demo": "This is a plumbing-quality model: minutes of training on"
    " procedural scenes. make train-tiny trains longer.",
    "tiny": "This model has seen small procedural scenes only.",
    "bundled": "docs/bundled.md tells how it becomes the model that ships.",
    "small": "This model has seen procedural scenes only.",
  }
  print(quality[recipe])
