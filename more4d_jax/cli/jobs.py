"""What `more4d generate --image` may name: a file, a folder, a manifest."""

import dataclasses
import json
import pathlib
from collections.abc import Sequence

from more4d_jax import depth_sources, errors, rng

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
MANIFESTS = (".json", ".jsonl")
_KEYS = {"image", "prompt", "negative_prompt", "depth"}
MAX_SAMPLES = 1000
PARTIAL = ".partial"  # After the name of a scene's folder while it is filled.


@dataclasses.dataclass(frozen=True)
class Words:
  """What users say of scenes; None where they say nothing.

  Attributes:
    prompt: what moves and how; an empty one is the user's choice.
    negative: what guidance leads away from.
  """

  prompt: str | None = None
  negative: str | None = None


@dataclasses.dataclass(frozen=True)
class Job:
  """One scene to make.

  Attributes:
    name: of its folder where there are several.
    image: picture file.
    prompt: what moves and how; empty for no caption.
    depth: depth file, or None.
    negative_prompt: what guidance leads away from; empty for no caption.
    seed: of the noise.
  """

  name: str
  image: pathlib.Path
  prompt: str
  depth: pathlib.Path | None = None
  negative_prompt: str = ""
  seed: int = 0


def names_several(image: pathlib.Path) -> bool:
  """Whether --image is a folder or a manifest, even one of one picture."""
  return image.is_dir() or image.suffix.lower() in MANIFESTS


def find_jobs(
  image: pathlib.Path, words: Words, depth: pathlib.Path | None
) -> tuple[Job, ...]:
  """Lists the scenes to make.

  Args:
    image: a picture; a folder of pictures; or a manifest, one JSON object
      with `image`, `prompt` and perhaps `negative_prompt` and `depth` a line,
      whose relative paths start at the manifest.
    words: for a picture or a folder, and for a manifest's lines without.
    depth: a file for a picture; for a folder, a folder with a depth file of
      the same stem for each picture.

  Raises:
    UserError: if something is missing, damaged or ambiguous.
  """
  if not image.exists():
    raise errors.UserError(
      f"expected a picture, a folder or a manifest at {image}, found no such "
      "file: check --image"
    )
  if image.is_dir():
    jobs = _folder(image, words, depth)
  elif image.suffix.lower() in MANIFESTS:
    jobs = _manifest(image, words, depth)
  else:
    return (_job(image, words, depth),)
  _check_names(jobs, image)
  return jobs


def drawn(jobs: Sequence[Job], seed: int, samples: int) -> tuple[Job, ...]:
  """The jobs with their seeds, each as often as there are samples.

  Args:
    jobs: one for each picture.
    seed: of the first sample of each; `rng.sample_seed` gives the others'.
    samples: of each picture. Of several the first is named
      `<picture>_sample_0`.

  Raises:
    UserError: for a number of samples or a seed that cannot be meant.
  """
  if not 1 <= samples <= MAX_SAMPLES:
    raise errors.UserError(
      f"expected --samples of 1 to {MAX_SAMPLES}, found {samples}"
    )
  return tuple(
    dataclasses.replace(
      job,
      name=job.name if samples == 1 else f"{job.name}_sample_{number}",
      seed=rng.sample_seed(seed, number),
    )
    for job in jobs
    for number in range(samples)
  )


def _job(image: pathlib.Path, words: Words, depth: pathlib.Path | None) -> Job:
  if words.prompt is None:
    raise errors.UserError(
      "expected a sentence that says what moves, found no --prompt: add it, "
      "such as --prompt 'a red ball rolls slowly to the left', or --prompt '' "
      "for none"
    )
  prompt, negative = words.prompt.strip(), (words.negative or "").strip()
  return Job(image.stem, image, prompt, depth, negative)


def _folder(
  folder: pathlib.Path, words: Words, depth: pathlib.Path | None
) -> tuple[Job, ...]:
  pictures = sorted(
    path for path in folder.iterdir() if path.suffix.lower() in PICTURES
  )
  if not pictures:
    raise errors.UserError(
      f"expected pictures in {folder}, found none: give a folder with "
      f"{', '.join(PICTURES)} files"
    )
  if depth is not None and not depth.is_dir():
    raise errors.UserError(
      f"expected a folder of depth files for the pictures in {folder}, found "
      f"{depth}: give a folder, or name depth files in a manifest"
    )
  return tuple(
    _job(path, words, depth and _depth_of(path, depth)) for path in pictures
  )


def _depth_of(picture: pathlib.Path, folder: pathlib.Path) -> pathlib.Path:
  found = [
    folder / (picture.stem + suffix)
    for suffix in depth_sources.SUFFIXES
    if (folder / (picture.stem + suffix)).is_file()
  ]
  if len(found) != 1:
    raise errors.UserError(
      f"expected one depth file named {picture.stem} in {folder}, found "
      f"{len(found)}: name it {picture.stem}.npy"
    )
  return found[0]


def _manifest(
  path: pathlib.Path, words: Words, depth: pathlib.Path | None
) -> tuple[Job, ...]:
  if depth is not None:
    raise errors.UserError(
      f"expected depth files to be named in the manifest {path}, found "
      "--depth too: leave --depth out"
    )
  try:
    lines = path.read_text(encoding="utf-8-sig").splitlines()
  except UnicodeDecodeError as error:
    raise errors.UserError(
      f"expected JSON lines in {path}, found bytes that are no text: check "
      "--image"
    ) from error
  jobs = tuple(
    _line(path, number, line, words)
    for number, line in enumerate(lines, start=1)
    if line.strip()
  )
  if not jobs:
    raise errors.UserError(
      f"expected one JSON object a line in {path}, found none: write one line "
      'such as {"image": "a.png", "prompt": "the dog runs"}'
    )
  return jobs


def _line(path: pathlib.Path, number: int, line: str, words: Words) -> Job:
  where = f"line {number} of {path}"
  try:
    fields = json.loads(line)
  except json.JSONDecodeError as error:
    raise errors.UserError(
      f"expected a JSON object in {where}, found text that is not JSON "
      f"({error.msg}): write one object a line"
    ) from error
  if not isinstance(fields, dict) or "image" not in fields:
    raise errors.UserError(
      f"expected an object with 'image' in {where}, found {line.strip()!r}"
    )
  unknown = sorted(set(fields) - _KEYS)
  if unknown or not all(isinstance(v, str) for v in fields.values()):
    raise errors.UserError(
      f"expected only texts named {', '.join(sorted(_KEYS))} in {where}, found "
      f"{unknown[0] if unknown else 'another type'!r}"
    )
  depth = fields.get("depth")
  own = Words(
    fields.get("prompt", words.prompt),
    fields.get("negative_prompt", words.negative),
  )
  return _job(
    path.parent / fields["image"],
    own,
    None if depth is None else path.parent / depth,
  )


def _check_names(jobs: Sequence[Job], source: pathlib.Path) -> None:
  names = [job.name for job in jobs]
  twice = sorted({name for name in names if names.count(name) > 1})
  if twice:
    raise errors.UserError(
      f"expected pictures of different names in {source}, found {twice[0]!r} "
      "twice: rename one, since each scene gets a folder of that name"
    )
  unfinished = [name for name in names if name.endswith(PARTIAL)]
  if unfinished:
    raise errors.UserError(
      f"expected a picture of another name in {source}, found "
      f"{unfinished[0]!r}: rename it, since folders of scenes that are being "
      f"made end in {PARTIAL}"
    )
