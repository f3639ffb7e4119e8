"""`more4d score`: results against truth, or handed to others who judge."""

import hashlib
import os
import pathlib
import shlex
from collections.abc import Callable, Mapping

import numpy as np

from more4d_jax import errors, track_files
from more4d_jax.cli import lists, outputs
from more4d_jax.evaluation import intervals, tapvid3d
from more4d_jax.judges import films as films_lib
from more4d_jax.judges import questions, vbench
from more4d_jax.viewing import video


def tracks(
  *,
  predicted: pathlib.Path,
  true: pathlib.Path,
  out: pathlib.Path | None = None,
) -> None:
  """TAPVid-3D's figures of tracks in files of its layout.

  Args:
    predicted: folder of .npz files with tracks_XYZ and visibility.
    true: folder of the data set's files; each needs a prediction of its name.
    out: JSON file for the figures.
  """
  if out is not None:
    outputs.check_file(out)
  names = sorted(path.name for path in true.glob("*.npz"))
  if not names:
    raise errors.UserError(f"{true}: expected .npz files, found none")
  missing = [n for n in names if not (predicted / n).is_file()]
  if missing:
    raise errors.UserError(
      f"expected a prediction for each of {len(names)} files of {true}, found "
      f"none for {len(missing)} in {predicted}, the first {missing[0]}"
    )
  rows = [_compare(predicted / name, true / name) for name in names]
  found = intervals.of_rows(rows, ())
  means = {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}
  print(f"{len(rows)} films of {true}:")
  for key, value in means.items():
    low, high = found.get(key, (value, value))
    print(f"  {key:<22}{value:.4g}  [{low:.4g}, {high:.4g}]")
  if out is not None:
    report = {"figures": means, "intervals": found}
    outputs.write_json(out, report | {"films": dict(zip(names, rows))})


def _compare(predicted: pathlib.Path, true: pathlib.Path) -> dict[str, float]:
  film, ours = track_files.read_film(true), track_files.read_tracks(predicted)
  if ours.positions.shape != film.tracks.positions.shape:
    raise errors.UserError(
      f"{predicted}: expected tracks {film.tracks.positions.shape} as in "
      f"{true}, found {ours.positions.shape}: predict its own points"
    )
  if not film.tracks.visible.any():
    raise errors.UserError(f"{true}: expected a visible point, found none")
  return tapvid3d.figures(
    ours.positions,
    ours.visible,
    film.tracks.positions,
    film.tracks.visible,
    tapvid3d.focal_length(film.intrinsics, film.size),
  )


def vbench_films(
  *, results: lists.Words, out: pathlib.Path, fps: float = 8.0
) -> None:
  """Films in VBench's layout, and the command that judges them.

  Args:
    results: folders that `more4d generate` filled.
    out: folder for videos/ and prompts.json.
    fps: frames per second of all films.
  """
  if not 0 < fps <= 240:
    raise errors.UserError(f"expected --fps of 0 to 240, found {fps:g}")
  outputs.check_folder(out)
  films = films_lib.find(_folders(results))
  arguments = vbench.write_folder(films, out, fps)
  print(f"{len(films)} films in {out}; judge them in a clone of VBench with")
  print(f"  python evaluate.py {shlex.join(arguments)}")


def vbench_results(
  *, results: lists.Words, out: pathlib.Path | None = None
) -> None:
  """VBench's results beside those of the paper.

  Args:
    results: its ..._eval_results.json files.
    out: JSON file for the means.
  """
  if out is not None:
    outputs.check_file(out)
  means = vbench.read_results(_folders(results))
  print(f"{'':<24}{'here':>8}" + "".join(f"{g:>8}" for g in vbench.PAPER))
  for number, name in enumerate(vbench.DIMENSIONS):
    mine = f"{means[name]:.4f}" if name in means else "-"
    paper = "".join(f"{row[number]:>8.4f}" for row in vbench.PAPER.values())
    print(f"{name:<24}{mine:>8}{paper}")
  for name in sorted(set(means) - set(vbench.DIMENSIONS)):
    print(f"{name:<24}{means[name]:>8.4f}")
  if out is not None:
    outputs.write_json(out, means)


def vlm(
  *,
  results: lists.Words,
  endpoint: str,
  model: str,
  out: pathlib.Path,
  key_variable: str = "OPENAI_API_KEY",
  timeout: float = 300.0,
) -> None:
  """Marks of a vision-language model for films, five questions each.

  A film that has its marks in `out` is not asked about again.

  Args:
    results: folders that `more4d generate` filled.
    endpoint: address of an OpenAI-compatible server, up to /v1.
    model: its name there.
    out: JSON file for the marks.
    key_variable: environment variable that holds the server's key.
    timeout: seconds to wait for an answer.
  """
  if not endpoint.startswith(("http://", "https://")):
    raise errors.UserError(
      f"expected --endpoint such as https://host/v1, found {endpoint!r}"
    )
  outputs.check_file(out)
  out.absolute().parent.mkdir(parents=True, exist_ok=True)
  key = os.environ.get(key_variable, "")
  answers = outputs.read_json(out).get("films", {})
  films = films_lib.find(_folders(results))
  for number, film in enumerate(films, start=1):
    frames, _ = video.read_video(film.path)
    body = questions.request_body(model, film.prompt, frames)
    digest = hashlib.sha256(repr(body).encode()).hexdigest()[:16]
    if answers.get(film.name, {}).get("request") != digest:
      found = questions.ask(endpoint, key, body, timeout)
      answers[film.name] = {"request": digest, "marks": found}
      outputs.write_json(out, {"model": model, "films": answers})
    marks = answers[film.name]["marks"]
    print(f"[{number}/{len(films)}] {film.name}: {_line(marks)}", flush=True)
  marks = [answers[film.name]["marks"] for film in films]
  means = {n: float(np.mean([m[n] for m in marks])) for n in marks[0]}
  mean = float(np.mean(list(means.values())))
  paper = ", ".join(f"{v:.2f} ({g})" for g, v in questions.PAPER.items())
  print(f"mean {mean:.2f}: {_line(means)}; MoRe4D's paper: {paper}")
  report = {"model": model, "mean": mean, "means": means, "films": answers}
  outputs.write_json(out, report)


def _line(marks: Mapping[str, float | int]) -> str:
  return ", ".join(f"{name} {mark:g}" for name, mark in marks.items())


def _folders(words: lists.Words) -> list[pathlib.Path]:
  found = lists.items(words, os.path.exists, "--results")
  return [pathlib.Path(item) for item in found]


commands: Mapping[str, Callable[..., None]] = {
  "tracks": tracks,
  "vbench": vbench_films,
  "vbench-results": vbench_results,
  "vlm": vlm,
}
"""Name after `more4d score` -> what it does."""
