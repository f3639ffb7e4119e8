"""VBench (arXiv 2311.17982): films in its layout, and its results read.

Its mode `custom_input` takes a folder of films and a JSON file that gives the
prompt of each file name; its results are JSON, dimension -> [mean, films].
"""

import json
import math
import pathlib
from collections.abc import Mapping, Sequence

from more4d_jax import errors, whole_files
from more4d_jax.judges import films as films_lib
from more4d_jax.viewing import video

DIMENSIONS = (
  "subject_consistency",
  "background_consistency",
  "motion_smoothness",
  "dynamic_degree",
  "aesthetic_quality",
  "imaging_quality",
)
"""Those of the paper's tables, all of which take prompts of one's own."""

PAPER: Mapping[str, Sequence[float]] = {
  "I": (0.8752, 0.9364, 0.9682, 1.0, 0.5613, 0.6230),
  "II": (0.8241, 0.9044, 0.9760, 0.9500, 0.4820, 0.5828),
  "III": (0.8339, 0.9065, 0.9773, 0.9000, 0.4820, 0.5939),
}
"""Group of films -> MoRe4D's figures, docs/method/paper.md#quality."""

_QUALITY = 10  # x264's constant rate factor: no trace of coding is judged.


def write_folder(
  films: Sequence[films_lib.Film], out: pathlib.Path, fps: float
) -> list[str]:
  """Writes `videos/` (H.264, 4:2:0, one rate for all) and `prompts.json`.

  Args:
    films: what is judged.
    out: folder that is filled; it is made.
    fps: frames per second, on which the dynamic degree depends.

  Returns: the arguments of VBench's evaluate.py.
  """
  folder = out / "videos"
  folder.mkdir(parents=True, exist_ok=True)
  for film in films:
    frames, own = video.read_video(film.path)
    video.write_video(
      folder / f"{film.name}.mp4",
      films_lib.at_rate(frames, own, fps),
      fps,
      quality=_QUALITY,
    )
  prompts = {f"{film.name}.mp4": film.prompt for film in films}
  text = json.dumps(prompts, indent=2, ensure_ascii=False) + "\n"
  with whole_files.replaced(out / "prompts.json") as name:
    pathlib.Path(name).write_text(text)
  return [
    "--mode=custom_input",
    f"--videos_path={folder}",
    f"--prompt_file={out / 'prompts.json'}",
    "--dimension",
    *DIMENSIONS,
  ]


def read_results(paths: Sequence[pathlib.Path]) -> dict[str, float]:
  """Dimension -> mean over films, of one or more files of results.

  Raises:
    UserError: a file is missing, damaged or of another kind, or two of them
      hold the same dimension.
  """
  found: dict[str, float] = {}
  for path in paths:
    for name, mean in _read(path).items():
      if name in found:
        raise errors.UserError(
          f"expected each dimension once, found {name} again in {path}: leave "
          "out the older file"
        )
      found[name] = mean
  return found


def _read(path: pathlib.Path) -> dict[str, float]:
  try:
    content = json.loads(path.read_text())
    means = {name: float(entry[0]) for name, entry in content.items()}
  except OSError as error:
    raise errors.UserError(
      f"{path}: no VBench results to read ({error.strerror})"
    ) from error
  except (ValueError, TypeError, LookupError, AttributeError) as error:
    raise errors.UserError(
      f"{path}: expected VBench's results, JSON of dimension -> [mean, films], "
      f"found another content ({error})"
    ) from error
  wrong = [n for n, mean in means.items() if not math.isfinite(mean)]
  if wrong or not means:
    raise errors.UserError(
      f"{path}: expected a number for every dimension, found none for "
      f"{', '.join(wrong) or 'any'}: run VBench again"
    )
  return means
