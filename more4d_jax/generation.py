"""The networks of a checkpoint at work: batches in, tracks and videos out.

Joins `checkpoint_networks`, which knows a checkpoint, and `sampling`, which
knows the stages.
"""

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float, UInt8

from more4d_jax import (
  batches,
  checkpoint_networks,
  completion,
  errors,
  partitioning,
  registry,
)
from more4d_jax.checkpoints import store
from more4d_jax.sampling import (
  caching,
  guidance,
  networks,
  noise,
  sample_strag,
  sample_vism,
  stages,
)

DEPTH = stages.Stage("depth", "depth", ("network",))
_SMALL_WIDTH, _SMALL_BATCH = 1024, 4  # Tokens up to this width are cheap.
_KEPT_TEXTS = 256  # Captions whose features are kept for the next call.


@jax.jit
def metric_depth(model: networks.BoundModule, images: Array) -> Array:
  """Depth in metres [B H W] of bytes [B H W 3]; see `Generator.depths`."""
  return model(networks.unit(images))


def _kept(
  given: sample_vism.Renderings, drawn: sample_vism.Videos
) -> sample_vism.Videos:
  """Videos that fill the holes of renderings and change nothing else."""
  rows = zip(given.videos, drawn.videos, given.coverage)
  videos = np.stack([completion.composed(*row) for row in rows])
  return dataclasses.replace(drawn, videos=videos)


@dataclasses.dataclass(frozen=True)
class Options:
  """How networks are run, which changes no result.

  Attributes:
    batch: samples that go through a network at once; None for one of a large
      network and four of a small one.
    halves: how both halves of guidance run, one of `guidance.HALVES`.
    report: told how far each stage is, see `stages.Report`.
    mesh: sizes of the axes over which the devices of this process are laid
      out, "auto" for all of them, None for one device; or the mesh itself,
      which may reach other processes that make the same.
    offload: whether layers lie in the host's memory and are brought to the
      device one after the other, at every step.
  """

  batch: int | None = None
  halves: str = "batch"
  report: stages.Report = stages.silent
  mesh: partitioning.MeshConfig | Mesh | str | None = None
  offload: bool = False

  def __post_init__(self) -> None:
    networks.check_choice("halves", self.halves, guidance.HALVES)
    if self.batch is not None and self.batch < 1:
      raise errors.UserError(
        f"expected a batch of at least 1 sample, found {self.batch}"
      )


DEFAULT = Options()


def mesh_of(found: Mapping[str, store.Network], options: Options) -> Mesh:
  """The mesh that networks run on.

  Args:
    found: networks by kind.
    options: with the mesh.

  Raises:
    UserError: if this process has fewer devices.
  """
  heads = [
    found[kind].config.dit.num_heads
    for kind in registry.SAMPLED
    if kind in found
  ]
  if isinstance(options.mesh, Mesh):
    return options.mesh
  return lay_out(heads, options, jax.local_devices())


def lay_out(
  heads: Sequence[int], options: Options, devices: Sequence[jax.Device]
) -> Mesh:
  """Lays devices out for sampling.

  Args:
    heads: of each transformer. "auto" divides them, and weights with them,
      over as many devices as it can, and tokens over the rest; if layers lie
      in the host's memory, weights again.
    options: with the mesh that is wanted.
    devices: that may be used.

  Raises:
    UserError: if there are fewer devices, or each would keep layers of its own
      in the host's memory.
  """
  wanted = options.mesh
  if wanted is None:
    wanted = partitioning.MeshConfig()
  elif wanted == "auto":
    tensor = math.gcd(len(devices), *heads)
    rest = "fsdp" if options.offload else "context"
    sizes = {rest: len(devices) // tensor, "tensor": tensor}
    wanted = partitioning.MeshConfig(**sizes)
  if options.offload and wanted.data * wanted.context > 1:
    raise errors.UserError(
      "expected --offload with a mesh of fsdp and tensor, which divide layers, "
      f"found data={wanted.data},context={wanted.context}, of which each part "
      "would keep all layers in the host's memory: use auto or other axes"
    )
  sizes = dataclasses.asdict(wanted)
  count = math.prod(sizes.values())
  if min(sizes.values()) < 1 or count > len(devices):
    shape = ",".join(f"{axis}={size}" for axis, size in sizes.items())
    raise errors.UserError(
      f"expected a mesh of at most {len(devices)} devices, as many as there "
      f"are, found {shape}: use smaller sizes, or auto"
    )
  return partitioning.make_mesh(wanted, devices[:count])


class Generator:
  """Runs the stages of both samplers with one checkpoint's networks."""

  def __init__(
    self,
    found: checkpoint_networks.CheckpointNetworks,
    options: Options = DEFAULT,
  ):
    """Keeps what to run, and how."""
    self.networks = found
    self.run = stages.Stages(
      found.lend, found.mesh, options.report, options.halves
    )
    self.options = options
    self._texts: dict[tuple[str, str], Float[np.ndarray, "n E"]] = {}

  def batch(self, kind: str) -> int:
    """Samples that go through `strag` or `vism` at once."""
    if self.options.batch is not None:
      return self.options.batch
    width = self.networks.network(kind).config.dit.width
    return 1 if width > _SMALL_WIDTH else _SMALL_BATCH

  def depth(
    self, images: UInt8[np.ndarray, "B H W 3"]
  ) -> Float[np.ndarray, "B H W"]:
    """Depth of pictures of one size; see `depths`."""
    (found,) = self.depths([images])
    return found

  def depths(
    self, pictures: Sequence[UInt8[np.ndarray, "B H W 3"]]
  ) -> list[Float[np.ndarray, "B H W"]]:
    """Depth in metres from the checkpoint's depth network.

    Args:
      pictures: batches of any sizes; the network is read once for all.

    Raises:
      UserError: if that network gives relative depth.
    """
    if self.networks.network("depth").config.output == "relu":
      raise errors.UserError(
        "expected a depth network that gives metres, found one of relative "
        f"depth in {self.networks.name}: bundle a metric one, or give --depth"
      )
    with self.run.borrow(DEPTH) as model:
      return [
        self.run.call(metric_depth, model, images)
        for images in self.run.counted(DEPTH, pictures)
      ]

  def tracks(
    self,
    pictures: Sequence[batches.PictureBatch],
    keep: stages.Keep = stages.forget,
  ) -> Iterator[sample_strag.Tracks]:
    """Trajectories of each batch; all go through a stage together.

    Args:
      pictures: of the model's size.
      keep: given what is drawn.
    """
    sampler, size = self.networks.sampler("strag"), self.networks.size("strag")
    settings = sample_strag.Settings(
      self.networks.normalisation, sampler, self.networks.choices("strag")
    )
    contexts = self._contexts(sample_strag.TEXT, pictures)
    given = [
      sample_strag.Pictures(
        batch.images,
        np.asarray(batch.depths, np.float32),
        np.asarray(batch.intrinsics, np.float32),
        *context,
        noise.latents(batch.noise_keys, "strag", size),
        batch.known,
      )
      for batch, context in zip(pictures, contexts)
    ]
    run = dataclasses.replace(self.run, keep=keep)
    return sample_strag.sample_tracks(run, given, settings)

  def videos(
    self,
    renderings: Sequence[batches.RenderingBatch],
    keep: stages.Keep = stages.forget,
  ) -> Iterator[sample_vism.Videos]:
    """Videos without holes of each batch; all go through a stage together.

    If the sampler keeps what is rendered, they show it, with a soft seam.

    Args:
      renderings: of the model's size.
      keep: given what is drawn.
    """
    contexts = self._contexts(sample_vism.TEXT, renderings)
    given = [
      sample_vism.Renderings(
        batch.videos,
        batch.coverage,
        batch.images,
        *context,
        noise.latents(batch.noise_keys, "vism", batch.videos.shape[1:4]),
      )
      for batch, context in zip(renderings, contexts)
    ]
    run = dataclasses.replace(self.run, keep=keep)
    sampler, choices = (
      self.networks.sampler("vism"),
      self.networks.choices("vism"),
    )
    drawn = sample_vism.complete_videos(run, given, sampler, choices)
    for batch, found in zip(given, drawn):
      yield _kept(batch, found) if sampler.keep_rendered else found

  def _contexts(
    self,
    stage: stages.Stage,
    given: Sequence[batches.PictureBatch] | Sequence[batches.RenderingBatch],
  ) -> list[tuple[Float[np.ndarray, "B L E"] | None, ...]]:
    """Text features of each batch's prompts and negative prompts.

    The latter are None where guidance takes no part.
    """
    guided = caching.guided_steps(self.networks.sampler(stage.kind))
    words = [
      (
        batch.prompts,
        (batch.negative_prompts or [""] * len(batch.prompts))
        if guided
        else None,
      )
      for batch in given
    ]
    texts = {t: None for pair in words for part in pair for t in part or ()}
    found = self._features(stage, list(texts))
    return [
      tuple(
        None if part is None else np.stack([found[text] for text in part])
        for part in pair
      )
      for pair in words
    ]

  def _features(
    self, stage: stages.Stage, texts: Sequence[str]
  ) -> dict[str, Float[np.ndarray, "L E"]]:
    """Features of texts; those of the last calls are not computed again.

    Networks that share a text encoder share what it says.
    """
    known, kind = self._texts, self.networks.text_encoder_of(stage.kind)
    stage = stage._replace(kind=kind)
    missing = [text for text in texts if (kind, text) not in known]
    tokens = self.networks.tokens(kind, missing) if missing else ()
    contexts = self.run.text_contexts(stage, tokens)
    for text, features in zip(missing, contexts):
      length = np.flatnonzero(features.any(axis=1)).max(initial=-1) + 1
      known[kind, text] = features[:length].copy()  # All other rows are zero.
    length = self.networks.network(kind).config.text.length
    found = {}
    for text in texts:
      features = known[kind, text]
      fill = ((0, length - len(features)), (0, 0))
      found[text] = np.pad(features, fill)
    for key in list(known)[: max(0, len(known) - _KEPT_TEXTS)]:
      del known[key]
    return found
