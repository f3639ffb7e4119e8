"""Published weights to a bundle, one tensor in memory at a time."""

import dataclasses
import os
import pathlib
from collections.abc import Iterable, Mapping

import numpy as np

from more4d_jax import errors, locations
from more4d_jax.checkpoints import (
  directories,
  dtypes,
  store,
  weight_files,
)
from more4d_jax.lora import dialects
from more4d_jax.models import lora as lora_lib
from more4d_jax.models import quantised
from more4d_jax.name_maps import matching
from more4d_jax.published import assembly, part_writer, recognition

# Published LoRAs are those of 4D-ViSM.
_LORA_KIND = "vism"


@dataclasses.dataclass(frozen=True)
class Options:
  """How to convert.

  Attributes:
    dtype: brings all tensors to this type, in which transformers and encoders
      then compute (float16 is stored only); int8 is for their large kernels,
      beside bfloat16, see `dtypes`; None keeps theirs, and refuses a network
      whose tensors differ.
    clip: what the weights were trained at.
    progress: shows bars on the terminal.
  """

  dtype: str | None = None
  clip: assembly.Clip = dataclasses.field(default_factory=assembly.Clip)
  progress: bool = True

  def __post_init__(self) -> None:
    known = *dtypes.STORED, dtypes.INT8
    if self.dtype not in (None, *known):
      raise errors.UserError(
        f"expected a dtype among {', '.join(known)}, found {self.dtype!r}"
      )


@dataclasses.dataclass(frozen=True)
class Report:
  """What a conversion did.

  Attributes:
    parts: directories written, and their bytes.
    loras: what was read of LoRA files.
    skipped: files of no known kind.
    notes: lines on tensors that were read in another way than they are stored.
    unnamed: parts whose captions no tokenizer files were found for.
    networks: kinds of network that the bundle now holds.
    missing: kind -> parts that are still to be converted.
    motion_encoder: how that inside 4D-STraG compares with OmniMAE's own, ""
      if only one of them is there.
  """

  parts: Mapping[str, int]
  loras: tuple[dialects.Found, ...]
  skipped: tuple[pathlib.Path, ...]
  notes: tuple[str, ...]
  unnamed: tuple[str, ...]
  networks: tuple[str, ...]
  missing: Mapping[str, tuple[str, ...]]
  motion_encoder: str


def convert(
  source: str | os.PathLike[str],
  out: str | os.PathLike[str],
  options: Options | None = None,
) -> Report:
  """Adds the networks of published files to a bundle.

  Everything is checked before anything is written.

  Args:
    source: a file, or a folder in which and below which files are looked for.
    out: a bundle, or a new directory for one.
    options: how.

  Raises:
    UserError: if a file is damaged, unsafe, of no known kind, has other
      tensors than its kind, tensors of several types, or does not belong to
      the others.
  """
  options = options or Options()
  out = locations.here(out, "the converted checkpoint").absolute()
  _check_place(out)
  found = _sort(pathlib.Path(source), options.dtype)
  known = assembly.parts_in(out) if out.exists() else {}
  for path, part in found.jobs:
    _check_dtypes(part, path, options)
    known[part.directory] = assembly.Known(part.config, options.clip)
  assembly.plan(known)  # Raises if they do not fit together.
  for lora in found.loras:
    _check_lora(lora, found.jobs, out)
  for _, part in found.jobs:
    with directories.new_directory(out / part.directory) as temporary:
      part_writer.write(
        temporary, part, options.dtype, options.clip, progress=options.progress
      )
  for lora in found.loras:
    file = out / assembly.LORAS / f"{_LORA_KIND}.safetensors"
    dialects.save(file, lora.lora, "original")
  planned = assembly.assemble(out)
  bundle = store.networks_of(out)
  return Report(
    parts={
      part.directory: _bytes_in(out / part.directory) for _, part in found.jobs
    },
    loras=tuple(found.loras),
    skipped=tuple(found.skipped),
    notes=tuple(found.notes),
    unnamed=tuple(
      part.directory
      for _, part in found.jobs
      if part.directory == "text_encoder" and part.tokenizer is None
    ),
    networks=tuple(bundle),
    missing=planned.missing,
    motion_encoder=_compare_motion_encoders(out),
  )


def _bytes_in(directory: pathlib.Path) -> int:
  return sum(p.stat().st_size for p in directory.rglob("*") if p.is_file())


def _compare_motion_encoders(out: pathlib.Path) -> str:
  """Says whether the released weights hold the public encoder.

  The original's training overwrites most of it
  (docs/method/motion_perception.md#initialisation); what is inside 4D-STraG is
  what it must be sampled with.
  """
  places = [out / name for name in ("strag_motion_encoder", "motion_encoder")]
  if not all((place / "network.json").is_file() for place in places):
    return ""
  own, public = (
    matching.flatten(store.open_network(place).params) for place in places
  )
  eight = [quantised.is_int8(params.values()) for params in (own, public)]
  if eight[0] != eight[1]:
    return (
      "the motion encoder inside 4D-STraG and OmniMAE's are not compared: one "
      "of them is int8; its own is used"
    )
  differing = sum(
    path not in public
    or public[path].shape != array.shape
    or not np.array_equal(public[path][...].astype(array.dtype), array)
    for path, array in own.items()
  )
  if not differing:
    return "the motion encoder inside 4D-STraG is OmniMAE's"
  return (
    f"the motion encoder inside 4D-STraG differs from OmniMAE's in {differing} "
    f"of {len(own)} tensors; its own is used"
  )


def _check_place(out: pathlib.Path) -> None:
  """Refuses to add to anything but a bundle, finished or interrupted."""
  inside = list(out.iterdir()) if out.exists() else []
  ours = [
    place.suffix in (".partial", ".old") or (place / "network.json").is_file()
    for place in inside
    if place.name not in ("model.json", assembly.LORAS)
  ]
  if not all(ours):
    raise errors.UserError(
      f"{out} exists and is no bundle: name a new directory, or one that "
      "convert made"
    )


_Job = tuple[pathlib.Path, recognition.Part]


@dataclasses.dataclass
class _Sorted:
  """Parts and LoRAs to write, files that hold neither, and what to tell."""

  jobs: list[_Job] = dataclasses.field(default_factory=list)
  loras: list[dialects.Found] = dataclasses.field(default_factory=list)
  skipped: list[pathlib.Path] = dataclasses.field(default_factory=list)
  notes: list[str] = dataclasses.field(default_factory=list)


def _sort(source: pathlib.Path, dtype: str | None) -> _Sorted:
  found = _Sorted()
  places: dict[str, pathlib.Path] = {}
  for path in weight_files.find(source):
    weights = weight_files.open_weights(path)
    if dialects.is_lora(weights.tensors):
      found.loras.append(dialects.load(path))
      continue
    if source.is_dir() and not recognition.known(weights):
      found.skipped.append(path)
      continue
    found.notes += weights.notes
    for part in recognition.parts_of(weights, dtype):
      if part.directory in places:
        raise errors.UserError(
          f"{path} and {places[part.directory]} both hold a "
          f"{part.directory}: convert one of them, by its own name"
        )
      places[part.directory] = path
      found.jobs.append((path, part))
  if len(found.loras) > 1:
    names = ", ".join(lora.lora.name for lora in found.loras)
    raise errors.UserError(
      f"{source} holds several LoRAs ({names}): convert one of them, by its "
      "own name"
    )
  if not found.jobs and not found.loras:
    recognition.parts_of(weight_files.open_weights(found.skipped[0]))
  return found


@dataclasses.dataclass(frozen=True)
class _Shape:
  """Stands for an array of which only the shape matters."""

  shape: tuple[int, ...]


def _check_lora(
  found: dialects.Found, jobs: Iterable[_Job], out: pathlib.Path
) -> None:
  """Compares a LoRA with its transformer, if that is there or comes along."""
  place = f"{_LORA_KIND}_transformer"
  shapes: dict[str, _Shape] = {}
  for _, part in jobs:
    if part.directory == place:
      counts: dict[str, int] = {}
      for entry in part.entries:
        for path, layer, shape in entry.places():
          counts[path] = counts.get(path, 0) + 1
          stack = () if layer is None else (counts[path],)
          shapes[path] = _Shape((*stack, *shape))
  if not shapes and (out / place / "network.json").is_file():
    lora_lib.check(store.open_network(out / place).params, found.lora)
  elif shapes:
    lora_lib.check(matching.unflatten(shapes), found.lora)


def _check_dtypes(
  part: recognition.Part, path: pathlib.Path, options: Options
) -> None:
  found = weight_files.dtypes_of(part.tensors, part.names)
  strange = {d: n for d, n in found.items() if d not in dtypes.STORED}
  if strange:
    text = "; ".join(f"{d}: {', '.join(n)}" for d, n in strange.items())
    raise errors.UserError(
      f"{path} holds tensors of types that are no weights ({text}): "
      f"use a file in {', '.join(dtypes.STORED)}"
    )
  if len(found) > 1 and options.dtype is None:
    counts = ", ".join(f"{len(n)} of {d}" for d, n in found.items())
    few = min(found.values(), key=len)
    raise errors.UserError(
      f"{path} mixes types ({counts}; {', '.join(few)} differ): give "
      "--dtype float32 or --dtype bfloat16 to bring all to one"
    )


def describe(report: Report) -> Iterable[str]:
  """Lines that tell a person what was done and what is left to do."""
  if report.parts:
    sizes = (f"{k} ({size / 1e9:.3g} GB)" for k, size in report.parts.items())
    yield f"converted {', '.join(sizes)}"
  yield from report.notes
  for found in report.loras:
    yield (
      f"{found.lora.name}: a LoRA of {dialects.describe(found)}, will change "
      f"{_LORA_KIND}"
    )
  for path in report.skipped:
    yield f"skipped {path}, which is of no known kind"
  if report.motion_encoder:
    yield report.motion_encoder
  if report.unnamed:
    yield (
      "no tokenizer beside the text encoder: convert it from a folder that "
      "holds google/umt5-xxl with tokenizer.json or spiece.model"
    )
  if report.networks:
    yield f"the bundle holds {', '.join(report.networks)}"
  for kind, parts in report.missing.items():
    yield f"{kind} still needs {', '.join(parts)}"
