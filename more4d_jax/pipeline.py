"""The whole chain: one picture to a 4D scene and its novel-view videos."""

import dataclasses
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, UInt8

from more4d_jax import (
  batches,
  checkpoint_networks,
  completion,
  depth_sources,
  errors,
  inputs,
  partitioning,
  pictures,
  scene_size,
)
from more4d_jax import scene as scene_lib
from more4d_jax.checkpoints import store
from more4d_jax.geometry import camera_paths, timing
from more4d_jax.lora import requests
from more4d_jax.sampling import (
  networks,
  noise,
  original_conditions,
  sample_strag,
  sample_vism,
)

_sample_tracks = jax.jit(
  sample_strag.sample_tracks,
  static_argnames=("normalisation", "sampler", "choices"),
)
_complete_video = jax.jit(
  sample_vism.complete_video, static_argnames=("sampler", "choices")
)


@jax.jit
def _apply(model: networks.BoundModule, *args: Array) -> Array:
  return model(*args)


def _run(program: Callable[..., Any], *args: Any, **options: Any) -> Any:
  """Calls a compiled program and fetches what it gives."""
  with jax.set_mesh(partitioning.one_device()):
    return jax.device_get(program(*args, **options))


class Pipeline:
  """The networks of one checkpoint, ready to run.

  Calling it makes a scene; `complete` makes the video of a camera path.
  """

  def __init__(
    self,
    found: Mapping[str, store.Network],
    name: str = "checkpoint",
    overrides: Mapping[str, Any] | None = None,
    conditions: str = "trained",
  ):
    """Keeps networks by kind; `load` reads them from a checkpoint.

    Args:
      found: those that will be used; a missing one is an error then.
      name: of the checkpoint, for messages and the metadata of scenes.
      overrides: sampler settings that differ from the checkpoint's.
      conditions: see `checkpoint_networks.CheckpointNetworks`.
    """
    self.networks = checkpoint_networks.CheckpointNetworks(
      found, name, overrides, conditions
    )

  @property
  def size(self) -> tuple[int, int, int]:
    """Frames, height and width of the scenes."""
    return self.networks.size

  def __call__(
    self,
    image: pictures.PictureLike,
    prompt: str,
    depth: depth_sources.DepthLike | None = None,
    seed: int = 0,
    *,
    negative_prompt: str = "",
    fov: float | None = None,
    fit: inputs.Fit = "crop",
    size: scene_size.SceneSize = "picture",
    fps: float | None = None,
  ) -> scene_lib.Scene:
    """Makes a 4D scene of a picture.

    Args:
      image: a file, an array (uint8, or float in [0, 1]), or a Pillow image.
      prompt: what moves and how; empty for no caption.
      depth: of the whole picture: a file or an array in metres, a
        `depth_sources.DepthMap`, or a function that is called with the
        picture's colours; the checkpoint's depth network estimates it when
        left out.
      seed: of the noise.
      negative_prompt: what guidance leads away from.
      fov: horizontal angle of view of the whole picture in degrees; when left
        out, the camera that comes with the depth, else from the file's focal
        length, else 60.
      fit: "crop" cuts the picture to the model's aspect around its centre;
        "letterbox" keeps all of it, and the scene has the picture's aspect.
      size: (H, W) of the scene, or that of the "model" or the "picture", at
        most 720 rows; see `geometry.upsampling`.
      fps: frames per second of the scene; the model's when left out.

    Raises:
      UserError: if the picture or its depth cannot be used.
    """
    prepared = self.prepare(image, depth, fov, fit, size)
    return self.scene(prepared, prompt, seed, fps, negative_prompt)

  def prepare(
    self,
    image: pictures.PictureLike,
    depth: depth_sources.DepthLike | None = None,
    fov: float | None = None,
    fit: inputs.Fit = "crop",
    size: scene_size.SceneSize = "model",
  ) -> inputs.Prepared:
    """Brings a picture and its depth to the model's size.

    Depth that is not given is estimated on the whole picture.
    """
    picture = pictures.find(image)
    found = None if depth is None else depth_sources.find(depth, picture.pixels)
    return self.prepare_picture(picture, found, fov, fit, size)

  def prepare_picture(
    self,
    picture: pictures.Picture,
    depth: depth_sources.DepthMap | None,
    fov: float | None = None,
    fit: inputs.Fit = "crop",
    size: scene_size.SceneSize = "model",
  ) -> inputs.Prepared:
    """`prepare` for a picture and a depth that were read."""
    model, shape = self.size[1:], picture.pixels.shape[:2]
    frame = scene_size.frame_size(size, shape, model, fit)
    if depth is None:
      whole = inputs.whole_size(shape, self._depth_size(frame))
      depth = self.depth_map(inputs.resize(picture.pixels, whole))
    prepared = inputs.prepare(picture, depth, model, fov, fit)
    if frame == model:
      return prepared
    finer = scene_size.prepare(picture, depth, (model, frame), fov, fit)
    return dataclasses.replace(prepared, finer=finer)

  def _depth_size(self, frame: tuple[int, int]) -> tuple[int, int]:
    """(H, W) at which depth of a scene of size `frame` is estimated.

    A network that resizes pictures to a size of its own answers at any size.
    Another was trained at the model's; what it says at a larger one is worse.
    """
    resizes = self.networks.network("depth").config.input_size is not None
    return frame if resizes else self.size[1:]

  def scene(
    self,
    prepared: inputs.Prepared,
    prompt: str,
    seed: int = 0,
    fps: float | None = None,
    negative_prompt: str = "",
  ) -> scene_lib.Scene:
    """Makes a 4D scene of a picture that has the model's size and depth.

    Args:
      prepared: with depth; the scene has the size of its finer grid, if any.
      prompt: what moves and how.
      seed: of the noise.
      fps: frames per second of the scene; the model's when left out.
      negative_prompt: what guidance leads away from.

    Returns: the scene of what the picture shows, without a letterbox.

    Raises:
      FloatingPointError: if the networks produce a number that is not finite.
    """
    choices = self.networks.choices("strag")
    if choices.camera == "original":
      prepared = prepared.with_camera(original_conditions.camera(self.size[1:]))
    batch = batches.PictureBatch(
      *(v[None] for v in (prepared.image, prepared.depth, prepared.intrinsics)),
      [prompt],
      [negative_prompt],
    )
    drawn, computed = self._draw_tracks(batch, seed)
    if not np.isfinite(drawn).all():
      raise FloatingPointError(
        f"{self.networks.name} produced trajectories that are not finite: its "
        "training diverged, or the depth is extreme"
      )
    tracks = timing.at_moments(drawn[0], self.moments(fps))
    grid = prepared.finer or prepared
    tracks, visible = scene_size.on_grid(tracks, grid)
    return scene_lib.Scene(
      tracks=tracks,
      visible=visible,
      colours=grid.image[grid.window.slices],
      intrinsics=grid.window.intrinsics(grid.intrinsics),
      fps=float(fps or self.fps),
      metadata={
        "prompt": prompt,
        "negative_prompt": negative_prompt,
        "seed": seed,
        "depth": "estimated" if prepared.depth_estimated else "given",
        **self.networks.record("strag"),
        "computed_steps": np.flatnonzero(computed).tolist(),
        "normalisation": dataclasses.asdict(self.networks.normalisation),
        "model_grid": {
          "frames": len(drawn[0]),
          "size": list(prepared.window.size),
          "fps": self.fps,
        },
      },
    )

  @property
  def fps(self) -> float:
    """Frames per second of what the model draws."""
    return float(self.networks.network("strag").metadata.get("fps", 8.0))

  def moments(self, fps: float | None) -> Float[np.ndarray, "N"]:
    """The frames of a scene, in frames of the model."""
    return timing.at_rate(self.size[0], self.fps, fps or self.fps)

  def estimate_depth(
    self, images: UInt8[np.ndarray, "B H W 3"]
  ) -> Float[np.ndarray, "B H W"]:
    """Depth in metres from the checkpoint's depth network.

    Raises:
      UserError: if that network gives relative depth.
    """
    network = self.networks.bound("depth")
    if network.module.config.output == "relu":
      raise errors.UserError(
        "expected a depth network that gives metres, found one of relative "
        f"depth in {self.networks.name}: bundle a metric one, or give --depth"
      )
    unit = jnp.asarray(images, jnp.float32) / 255.0
    return _run(_apply, network, unit)

  def depth_map(
    self, pixels: UInt8[np.ndarray, "H W 3"]
  ) -> depth_sources.DepthMap:
    """Depth of one picture of any size from the checkpoint's depth network.

    Raises:
      UserError: as `estimate_depth`, or if no pixel's depth is usable.
    """
    depth = self.estimate_depth(pixels[None])[0]
    name = f"what the depth network of {self.networks.name} gave"
    found = depth_sources.from_array(depth, name=name)
    return dataclasses.replace(found, estimated=True)

  def tracks(
    self, batch: batches.PictureBatch, seed: int = 0, first: int = 0
  ) -> Float[np.ndarray, "B T H W 3"]:
    """Draws trajectories for pictures of the model's size.

    Args:
      batch: the pictures.
      seed: of the noise.
      first: number of the first picture; with `seed` it fixes its noise, so
        that a picture's sample does not depend on its batch.

    Returns: metres, in the first camera's frame.
    """
    return self._draw_tracks(batch, seed, first)[0]

  def _draw_tracks(
    self, batch: batches.PictureBatch, seed: int, first: int = 0
  ) -> tuple[Float[np.ndarray, "B T H W 3"], Bool[np.ndarray, "n"]]:
    """Trajectories, and the steps at which the layers ran."""
    frames = self.size[0]
    count, height, width = batch.depths.shape
    kinds = "video_vae", "motion_vae", "strag"
    return _run(
      _sample_tracks,
      sample_strag.STraGNetworks(*map(self.networks.bound, kinds)),
      sample_strag.STraGInputs(
        image=jnp.asarray(batch.images, jnp.float32) / 255.0,
        depth=jnp.asarray(batch.depths, jnp.float32),
        intrinsics=jnp.asarray(batch.intrinsics, jnp.float32),
        **self.networks.tokens("strag", batch.prompts, batch.negative_prompts),
      ),
      noise.latents(seed, "strag", first, (count, frames, height, width)),
      normalisation=self.networks.normalisation,
      sampler=self.networks.sampler("strag"),
      choices=self.networks.choices("strag"),
    )

  def complete(
    self,
    scene: scene_lib.Scene,
    path: str | camera_paths.CameraPath,
    seed: int = 0,
  ) -> UInt8[np.ndarray, "T H W 3"]:
    """Films a scene along a camera path, holes filled by 4D-ViSM.

    Args:
      scene: of any size.
      path: a named path, a camera file, or poses.
      seed: of the noise.
    """
    return self.complete_films(scene, [scene.render(path)], seed)[0]

  def complete_films(
    self,
    scene: scene_lib.Scene,
    films: Sequence[
      tuple[UInt8[np.ndarray, "T H W 3"], Bool[np.ndarray, "T H W"]]
    ],
    seed: int = 0,
  ) -> list[UInt8[np.ndarray, "T H W 3"]]:
    """Fills the holes of renderings of one scene, all in one batch.

    They share the features of picture and caption, and the noise.

    Args:
      scene: of any size.
      films: renderings and their coverage; see `completion`.
      seed: of the noise.

    Raises:
      UserError: if a rendering has another size than the scene.
    """
    batch = completion.to_batch(scene, films, self.size)
    completed = self.complete_renderings(batch, seed)
    return [
      completion.from_frame(drawn, *film)
      for drawn, film in zip(completed, films, strict=True)
    ]

  def complete_renderings(
    self, batch: batches.RenderingBatch, seed: int = 0, first: int = 0
  ) -> UInt8[np.ndarray, "B T H W 3"]:
    """Fills the holes of renderings; arguments as in `tracks`.

    Renderings of one picture have one noise.
    """
    completed, _ = _run(
      _complete_video,
      sample_vism.ViSMNetworks(
        self.networks.bound("video_vae"), self.networks.bound("vism")
      ),
      sample_vism.ViSMInputs(
        rendering=jnp.asarray(batch.videos, jnp.float32) / 255.0,
        coverage=jnp.asarray(batch.coverage),
        image=jnp.asarray(batch.images, jnp.float32) / 255.0,
        **self.networks.tokens("vism", batch.prompts, batch.negative_prompts),
      ),
      noise.latents(
        seed, "vism", first, (len(batch.images), *batch.videos.shape[1:4])
      ),
      sampler=self.networks.sampler("vism"),
      choices=self.networks.choices("vism"),
    )
    return np.rint(completed * 255).astype(np.uint8)


def load(
  checkpoint: str | os.PathLike[str],
  overrides: Mapping[str, Any] | None = None,
  loras: Sequence[requests.Request] = (),
  conditions: str = "trained",
  dtype: str | None = None,
) -> Pipeline:
  """Reads a checkpoint directory made by `more4d bundle`.

  Args:
    checkpoint: the directory with `model.json`.
    overrides: sampler settings that differ from the checkpoint's.
    loras: merged into its transformers; `requests.parse` reads them.
    conditions: "trained" shows the networks what they were trained on,
      "original" what the original's scripts show them.
    dtype: "bfloat16", "float32" or "int8", see `checkpoints.dtypes`: what
      transformers and encoders are held in; None as the checkpoint has it.

  Raises:
    UserError: if it is no bundle, or a damaged one, or a LoRA does not fit,
      which is found before a weight is read.
  """
  found = requests.load_networks(checkpoint, loras, dtype)
  return Pipeline(found, pathlib.Path(checkpoint).name, overrides, conditions)
