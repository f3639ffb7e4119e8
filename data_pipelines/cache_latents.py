"""What frozen networks make of records, computed once and kept.

A cache is a folder of parts, each written whole or not at all, so an
interrupted run goes on with the first part that is missing.
"""

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tqdm
from jax.experimental import multihost_utils
from jaxtyping import Array

from more4d_jax.data import arrays, loader, transforms
from more4d_jax.geometry import depth as depth_geometry
from more4d_jax.geometry import motion
from more4d_jax.models.encoders import tokenizer
from more4d_jax.sampling import networks

Batch = Mapping[str, Any]
Encode = Callable[[Batch], Mapping[str, Array]]


@dataclasses.dataclass(frozen=True)
class CacheJob:
  """Where a cache lies and what it is made from.

  Attributes:
    root: folder of caches; each has a name that follows from `fingerprint`.
    kind: first part of the name, and shown while it is made.
    fingerprint: JSON values; other values, another cache.
    batch: examples encoded together.
    part: examples in a part.
  """

  root: pathlib.Path
  kind: str
  fingerprint: Mapping[str, Any]
  batch: int = 8
  part: int = 256

  @property
  def directory(self) -> pathlib.Path:
    """The cache's own folder."""
    text = json.dumps(dict(self.fingerprint), sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    return self.root / f"{self.kind}-{digest}"


def build(
  job: CacheJob,
  source: loader.Source,
  transform: loader.Transform,
  encode: Encode,
) -> list[arrays.ArrayCache]:
  """Makes what is missing of a cache and opens it, part by part.

  Args:
    job: see CacheJob.
    source: records.
    transform: record -> arrays that `encode` takes, without batch axis.
    encode: batch -> arrays of the cache; compiled for one batch size.
  """
  starts = range(0, len(source), job.part)
  folders = [job.directory / f"part-{k:05d}" for k in range(len(starts))]
  if jax.process_index() == 0:
    missing = [k for k, f in enumerate(folders) if not arrays.is_finished(f)]
    done = len(source) - sum(
      min(job.part, len(source) - starts[k]) for k in missing
    )
    with tqdm.tqdm(
      total=len(source),
      initial=done,
      desc=f"{job.kind} cache",
      unit="record",
      disable=not missing,
      mininterval=1.0,
    ) as bar:
      for k in missing:
        stop = min(starts[k] + job.part, len(source))
        part = [starts[k], stop]
        _write_part(
          job, folders[k], _encoded(job, source, transform, encode, part), bar
        )
  if jax.process_count() > 1:
    multihost_utils.sync_global_devices(f"cache {job.directory.name}")
  return [arrays.open_cache(f, job.fingerprint) for f in folders]


class _Range:
  """A contiguous piece of a source."""

  def __init__(self, whole: loader.Source, start: int, stop: int):
    self._whole, self._start, self._stop = whole, start, stop

  def __len__(self) -> int:
    return self._stop - self._start

  def __getitem__(self, index: int) -> Any:
    return self._whole[self._start + index]


def _encoded(
  job: CacheJob,
  source: loader.Source,
  transform: loader.Transform,
  encode: Encode,
  part: list[int],
) -> Iterator[tuple[int, int, dict[str, np.ndarray]]]:
  """Yields (place in the part, size of the part, encoded examples)."""
  piece = _Range(source, *part)
  start = 0
  for batch in loader.batches_in_order(piece, transform, job.batch):
    count = len(next(iter(batch.values())))
    # A last, smaller batch is filled up: one shape, one compilation.
    full = {
      name: np.concatenate([v, np.repeat(v[-1:], job.batch - count, axis=0)])
      for name, v in batch.items()
    }
    found = jax.device_get(encode(full))
    yield (
      start,
      len(piece),
      {n: np.asarray(v)[:count] for n, v in found.items()},
    )
    start += count


def _write_part(
  job: CacheJob,
  folder: pathlib.Path,
  encoded: Iterator[tuple[int, int, dict[str, np.ndarray]]],
  bar: tqdm.tqdm,
) -> None:
  start, count, first = next(encoded)
  spec = arrays.spec_of(count, {name: v[0] for name, v in first.items()})
  folder.parent.mkdir(parents=True, exist_ok=True)
  with arrays.ArrayCacheWriter(folder, spec, job.fingerprint) as writer:
    writer.write(start, first)
    bar.update(len(next(iter(first.values()))))
    for start, _, found in encoded:
      writer.write(start, found)
      bar.update(len(next(iter(found.values()))))


@dataclasses.dataclass(frozen=True)
class SceneExample:
  """Record -> what `encode_scenes` takes.

  Attributes:
    options: frames and size.
    tokenizer: of captions.
  """

  options: transforms.ExampleOptions
  tokenizer: tokenizer.ByteTokenizer

  def __call__(self, item: transforms.Item) -> dict[str, np.ndarray]:
    """Returns tracks, intrinsics, image, depth and text."""
    example = transforms.scene_example(item, self.options)
    names = ("tracks", "intrinsics", "image", "depth")
    return {
      **{name: example[name] for name in names},
      "text": self.tokenizer([example["caption"]])[0],
    }


def encode_scenes(
  video_vae: networks.Bound,
  motion_vae: networks.Bound,
  normalisation: motion.MotionNormalisation,
  batch: Batch,
) -> dict[str, Array]:
  """Latents that STraG trains on.

  Args:
    video_vae: encodes pictures; with the statistics of its latents.
    motion_vae: encodes motion.
    normalisation: of the motion.
    batch: of `SceneExample`.

  Returns: see training.objectives.strag; motion latents are raw moments, the
    conditions normalised modes.
  """
  tracks, picture = batch["tracks"], batch["image"]
  frames = tracks.shape[1]
  alpha = normalisation.alpha(batch["intrinsics"], *tracks.shape[2:4])
  moved, _, _ = motion.normalise(tracks, alpha, normalisation.mode)
  mean, logvar = networks.posterior(motion_vae, moved)
  picture = picture.astype(jnp.float32) / 127.5 - 1.0
  stills = [picture, depth_geometry.depth_image(batch["depth"])]
  control, depth = networks.encode_stills(video_vae, stills, frames)
  return {
    "motion_mean": mean,
    "motion_logvar": logvar,
    "control": control,
    "depth": depth,
    "reference": control[:, 0],
    "image": batch["image"],
    "text": batch["text"],
  }
