"""What ViSM trains on: a scene's points seen by a camera, and its true film.

The films of a record are, in this order: those of its other cameras, whose
holes are what the first picture does not show; that of its own camera, whose
holes are what moving things uncover; and its own again, double reprojected:
without the points that a camera on one of the default paths does not see. Such
holes are those of that path, and there is a true film without another camera.

Of a share of the films the scene is one that networks estimate: depth and
trajectories have their errors, see `data.estimation_noise`. The scale of depth
and the size of a motion stay exact, for a scene that is larger or faster as a
whole has the same holes, and its film would be another one.

Source: docs/method/view_completion.md#training.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import grain
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from more4d_jax import partitioning
from more4d_jax.data import estimation_noise, loader, transforms
from more4d_jax.geometry import camera_paths, path_reach
from more4d_jax.models import vism
from more4d_jax.models.encoders import tokenizer
from more4d_jax.rendering import render_video, reprojection
from more4d_jax.sampling import networks, sample_vism

NOISE = (
  dataclasses.replace(estimation_noise.DepthNoise(), scale=0.0),
  dataclasses.replace(estimation_noise.MotionNoise(), gain=0.0),
)
"""Errors of depth and of motion."""
_MIRROR = np.diag(np.float32([-1, 1, 1, 1]))


@dataclasses.dataclass(frozen=True)
class FilmOptions:
  """Which films of a record are trained on, and what is shown of them.

  Attributes:
    films: number of films of a record, at least 1: its other cameras, its
      own, then double reprojections.
    estimated: share of the films whose depth and trajectories have the errors
      of networks.
    holes: what a network is shown in holes, "grey" or "filled": the colours
      of what lies behind.
  """

  films: int = 3
  estimated: float = 0.5
  holes: str = "filled"

  def __post_init__(self) -> None:
    if self.films < 1 or not 0 <= self.estimated <= 1:
      raise ValueError(
        f"films is {self.films} and estimated {self.estimated}: expected at "
        "least 1 film and a share from 0 to 1"
      )
    networks.check_choice("holes", self.holes, ("grey", "filled"))


class Film(NamedTuple):
  """A record, and the number of one of its films."""

  record: transforms.Item
  number: int


class Films:
  """The films of records, those of a record in a row."""

  def __init__(self, records: loader.Source, count: int):
    """Keeps the records, of each of which there are `count` films."""
    self._records, self._count = records, count

  def __len__(self) -> int:
    """Number of films."""
    return self._count * len(self._records)

  def __getitem__(self, index: int) -> Film:
    """Returns one film."""
    return Film(self._records[index // self._count], index % self._count)


@dataclasses.dataclass(frozen=True)
class FilmExample(grain.transforms.RandomMap):
  """Film -> what `encode_films` takes, under random choices.

  Attributes:
    options: frames and size.
    tokenizer: of captions.
    films: what is shown.
  """

  options: transforms.ExampleOptions
  tokenizer: tokenizer.Tokenizer
  films: FilmOptions

  def random_map(
    self, film: Film, rng: np.random.Generator
  ) -> dict[str, np.ndarray]:
    """Returns tracks, intrinsics, image, film, poses of cameras and text.

    Raises:
      UserError: if the record is sparse, or light: it has no film.
    """
    item, number = film
    fields = item.decode(("views",))
    # What is cut out is the same of film and scene.
    cut = int(rng.integers(1 << 32))
    if number < len(fields["views"]):
      example = transforms.view_example(
        item, self.options, np.random.default_rng(cut), view=number
      )
    else:
      example = self._own_film(item, cut)
    tracks, poses = example["tracks"], example["target_world_from_camera"]
    seen_from = poses
    if number > len(fields["views"]):
      path = _default_path(tracks, example["intrinsics"], rng)
      # From there the own camera is where the path leads from the own.
      seen_from = poses @ np.linalg.inv(path)
    if rng.random() < self.films.estimated:
      of_depth, of_motion = NOISE
      depth = of_depth.draw(tracks[0, ..., 2], rng)
      tracks = of_motion.draw(estimation_noise.on_depth(tracks, depth), rng)
    names = ("intrinsics", "image", "target_video")
    return {
      **{name: example[name] for name in names},
      "tracks": tracks,
      "poses": poses,
      "seen_from": seen_from,
      "text": self.tokenizer([example["caption"]])[0],
    }

  def _own_film(self, item: transforms.Item, cut: int) -> dict[str, Any]:
    """A scene and the film of its own camera."""
    film, example = (
      function(item, self.options, np.random.default_rng(cut))
      for function in (transforms.video_example, transforms.scene_example)
    )
    film = film["video"]
    fields = item.decode(("tracks_frame", "world_from_camera"))
    poses = fields["world_from_camera"][: len(film)]
    # Tracks in each camera's own frame are those of a camera that stands.
    if fields["tracks_frame"] == "each_camera":
      poses = np.broadcast_to(np.eye(4, dtype=np.float32), poses.shape)
    return {
      **example,
      "target_video": film,
      "target_world_from_camera": poses,
    }


def _default_path(
  tracks: Float[np.ndarray, "T H W 3"],
  intrinsics: Float[np.ndarray, "4"],
  rng: np.random.Generator,
) -> Float[np.ndarray, "T 4 4"]:
  """A default path as a scene is filmed along it, or its mirror image."""
  moving = [name for name in camera_paths.DEFAULTS if name != "static"]
  name = moving[rng.integers(len(moving))]
  reach = path_reach.largest_reach(name, tracks, intrinsics)
  centre = camera_paths.scene_centre(tracks[0])
  found = camera_paths.find(name, len(tracks), centre, intrinsics, reach=reach)
  poses = found.world_from_camera
  return _MIRROR @ poses @ _MIRROR if rng.random() < 0.5 else poses


def render_batch(
  batch: Mapping[str, Any], holes: str = "grey"
) -> tuple[Float[Array, "B T H W 3"], Bool[Array, "B T H W"]]:
  """Renders each scene from its film's camera; colour in [0, 1], coverage.

  Under a mesh each device renders its own scenes.

  Args:
    batch: of `FilmExample`.
    holes: as in `FilmOptions`; 0 if they are to be grey.
  """
  height, width = batch["tracks"].shape[2:4]
  options = render_video.RenderOptions(
    height=height, width=width, fill=holes == "filled"
  )

  def one(scene: Any) -> Float[Array, "T H W 4"]:
    tracks, image, poses, seen_from, intrinsics = scene
    camera = jnp.broadcast_to(intrinsics, (tracks.shape[0], 4))

    def without_hidden(tracks: Array) -> Array:
      seen = reprojection.seen_points(
        tracks, seen_from, camera, intrinsics, options
      )
      return jnp.where(seen[..., None], tracks, jnp.nan)

    tracks = jax.lax.cond(
      jnp.any(seen_from != poses), without_hidden, lambda v: v, tracks
    )
    colour, _, coverage = render_video.render_frames(
      tracks, image, poses, camera, intrinsics, options
    )
    covered = coverage[..., None].astype(colour.dtype)
    return jnp.concatenate([colour, covered], axis=-1)

  image = batch["image"].astype(jnp.float32) / 255.0
  names = "poses", "seen_from", "intrinsics"
  scenes = batch["tracks"], image, *(batch[name] for name in names)
  found = partitioning.map_shards(
    lambda *mine: jax.lax.map(one, mine),
    [("batch", *(None,) * (value.ndim - 1)) for value in scenes],
    *scenes,
    check_vma=False,
  )
  return found[..., :3], found[..., 3] > 0


def encode_films(
  video_vae: networks.BoundModule,
  holes: str,
  batch: Mapping[str, Any],
) -> dict[str, Array]:
  """Latents that ViSM trains on; beside them are `features`.

  Args:
    video_vae: with the statistics of its latents.
    holes: as in `FilmOptions`.
    batch: of `FilmExample`.

  Returns: see training.objectives.vism; the film's latents are raw moments,
    the rendering's normalised modes.
  """
  rendering, coverage = render_batch(batch, holes)
  target = batch["target_video"].astype(jnp.float32) / 127.5 - 1.0
  mean, logvar = networks.posterior(video_vae, target)
  shown = sample_vism.shown_video(rendering, coverage, holes)
  return {
    "target_mean": mean,
    "target_logvar": logvar,
    "masked": networks.encode_video(video_vae, shown),
    "mask": vism.pack_mask(~coverage),
  }
