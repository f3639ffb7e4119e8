"""Published weights to a bundle, one tensor in memory at a time."""

import dataclasses
import hashlib
import os
import pathlib
import shutil
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import ml_dtypes
import numpy as np
import tqdm

from more4d_jax import errors
from more4d_jax.checkpoints import (
  array_trees,
  store,
  stored_networks,
  weight_files,
)
from more4d_jax.lora import dialects
from more4d_jax.models import lora as lora_lib
from more4d_jax.models.encoders import tokenizer
from more4d_jax.name_maps import matching, table
from more4d_jax.published import assembly, recognition

# Published LoRAs are those of 4D-ViSM.
_LORA_KIND = "vism"

DTYPES: Mapping[str, np.dtype] = {
  "float32": np.dtype(np.float32),
  "bfloat16": np.dtype(ml_dtypes.bfloat16),
  "float16": np.dtype(np.float16),
}


@dataclasses.dataclass(frozen=True)
class Options:
  """How to convert.

  Attributes:
    dtype: brings all tensors to this type, in which transformers and encoders
      then compute (float16 is stored only); None keeps theirs, and refuses a
      network whose tensors differ.
    clip: what the weights were trained at.
    progress: shows bars on the terminal.
  """

  dtype: str | None = None
  clip: assembly.Clip = dataclasses.field(default_factory=assembly.Clip)
  progress: bool = True

  def __post_init__(self) -> None:
    if self.dtype not in (None, *DTYPES):
      raise errors.UserError(
        f"expected a dtype among {', '.join(DTYPES)}, found {self.dtype!r}"
      )


@dataclasses.dataclass(frozen=True)
class Report:
  """What a conversion did.

  Attributes:
    parts: directories written.
    loras: what was read of LoRA files.
    skipped: files of no known kind.
    notes: lines on tensors that were read in another way than they are stored.
    unnamed: parts whose captions no tokenizer files were found for.
    networks: kinds of network that the bundle now holds.
    missing: kind -> parts that are still to be converted.
    motion_encoder: how that inside 4D-STraG compares with OmniMAE's own, ""
      if only one of them is there.
  """

  parts: tuple[str, ...]
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
  out = pathlib.Path(out).absolute()
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
    with store.new_directory(out / part.directory) as temporary:
      _write(temporary, part, options)
  for lora in found.loras:
    file = out / assembly.LORAS / f"{_LORA_KIND}.safetensors"
    dialects.save(file, lora.lora, "original")
  planned = assembly.assemble(out)
  bundle = store.networks_of(out)
  return Report(
    parts=tuple(part.directory for _, part in found.jobs),
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


def _compare_motion_encoders(out: pathlib.Path) -> str:
  """Says whether the released weights hold the public encoder.

  The original's training overwrites most of it
  (docs/method/motion_perception.md#initialisation); what is inside 4D-STraG is
  what it must be sampled with.
  """
  places = [out / name for name in ("strag_motion_encoder", "motion_encoder")]
  if not all((place / "network.json").is_file() for place in places):
    return ""
  own, public = (stored_networks.open_network(p).params for p in places)
  differing = sum(
    path not in public
    or public[path].shape != array.shape
    or not np.array_equal(
      public[path].read(None).astype(array.dtype), array.read(None)
    )
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
    stored = stored_networks.open_network(out / place).params
    shapes = {path: _Shape(array.shape) for path, array in stored.items()}
  if shapes:
    lora_lib.check(matching.unflatten(shapes), found.lora)


def _check_dtypes(
  part: recognition.Part, path: pathlib.Path, options: Options
) -> None:
  found = weight_files.dtypes_of(part.tensors, part.names)
  strange = {d: n for d, n in found.items() if d not in DTYPES}
  if strange:
    text = "; ".join(f"{d}: {', '.join(n)}" for d, n in strange.items())
    raise errors.UserError(
      f"{path} holds tensors of types that are no weights ({text}): "
      f"use a file in {', '.join(DTYPES)}"
    )
  if len(found) > 1 and options.dtype is None:
    counts = ", ".join(f"{len(n)} of {d}" for d, n in found.items())
    few = min(found.values(), key=len)
    raise errors.UserError(
      f"{path} mixes types ({counts}; {', '.join(few)} differ): give "
      "--dtype float32 or --dtype bfloat16 to bring all to one"
    )


def _write(
  directory: pathlib.Path,
  part: recognition.Part,
  options: Options,
) -> None:
  """Writes a part under its temporary name."""
  dtype = DTYPES.get(options.dtype or "")
  digests: dict[str, str] = {}
  bar = tqdm.tqdm(
    total=len(part.entries),
    desc=part.directory,
    unit="tensor",
    disable=not options.progress,
  )
  with bar:
    tree = _lazy_tree(part, dtype, _Watch(digests, bar.update))
    store.save_params(directory, tree)
  if part.carried:
    kept = {name: part.tensors[part.prefix + name] for name in part.carried}
    store.save_carried(directory, kept)
  files = {}
  text = "\n".join(f"{path} {digests[path]}" for path in sorted(digests))
  if part.tokenizer is not None:
    files["tokenizer"] = "tokenizer"
    _copy_tokenizer(part.tokenizer, directory / "tokenizer")
    text += f"\ntokenizer {tokenizer.digest(directory / 'tokenizer')}"
  identity = hashlib.sha256(text.encode()).hexdigest()[:16]
  metadata = {**part.metadata, "identity": identity}
  metadata["clip"] = dataclasses.asdict(options.clip)
  store.write_header(directory, part.config, metadata, files=files)


@dataclasses.dataclass(frozen=True)
class _Watch:
  """Notes what has been read.

  Attributes:
    digests: path -> digest of the values.
    advance: counts a published tensor.
  """

  digests: dict[str, str]
  advance: Callable[[], Any]


def _lazy_tree(
  part: recognition.Part,
  dtype: np.dtype | None,
  watch: _Watch,
) -> dict[str, Any]:
  """Our tree, whose arrays are read from the file when they are written."""
  read = weight_files.remembering_last(part.tensors)
  tree: dict[tuple[str, int | None], array_trees.LazyArray] = {}
  for entry in part.entries:
    name = part.prefix + entry.name
    kept = dtype or part.tensors[name].dtype
    places = list(entry.places())
    for position, (path, layer, shape) in enumerate(places):
      ours = path.removeprefix(part.root)

      def one(
        entry=entry, name=name, position=position, kept=kept, key=(ours, layer)
      ) -> np.ndarray:
        value = _part_of(entry, read(name), position)
        value = np.ascontiguousarray(value).astype(kept, copy=False)
        data = value.reshape(-1).view(np.uint8).data
        watch.digests[str(key)] = hashlib.sha256(data).hexdigest()
        if position == 0:
          watch.advance()
        return value

      tree[ours, layer] = array_trees.LazyArray(shape, kept, one)
  return array_trees.layers_apart(tree)


def _part_of(
  entry: table.Entry, value: np.ndarray, position: int
) -> np.ndarray:
  """The parameter at a position among those of a published tensor."""
  for i, (_, _, ours) in enumerate(entry.to_ours(value)):
    if i == position:
      return ours
  raise IndexError(position)


def _copy_tokenizer(source: pathlib.Path, target: pathlib.Path) -> None:
  target.mkdir()
  for name in recognition.TOKENIZER_FILES:
    if (source / name).is_file():
      shutil.copyfile(source / name, target / name)


def describe(report: Report) -> Iterable[str]:
  """Lines that tell a person what was done and what is left to do."""
  if report.parts:
    yield f"converted {', '.join(report.parts)}"
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
