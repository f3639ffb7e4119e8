"""The whole chain: one picture to a 4D scene and its novel-view videos."""

import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, UInt8

from more4d_jax import (
  batches,
  checkpoint_networks,
  completion,
  depth_sources,
  errors,
  generation,
  generation_requests,
  inputs,
  pictures,
  preparation,
  scene_size,
)
from more4d_jax import scene as scene_lib
from more4d_jax.bundled import shipped
from more4d_jax.checkpoints import store
from more4d_jax.geometry import camera_paths, timing
from more4d_jax.lora import requests
from more4d_jax.rendering import render_video
from more4d_jax.sampling import original_conditions


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
    options: generation.Options = generation.DEFAULT,
    frames: int | None = None,
  ):
    """Keeps networks by kind; `load` reads them, and says what the rest is.

    A network that is not among them is an error once it is needed.
    """
    self.networks = checkpoint_networks.CheckpointNetworks(
      found,
      name,
      overrides,
      conditions,
      frames,
      generation.mesh_of(found, options),
      options.offload,
    )
    self.generator = generation.Generator(self.networks, options)

  @property
  def size(self) -> tuple[int, int, int]:
    """Frames, height and width of the scenes."""
    return self.networks.size("strag")

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
    view = preparation.View(fov, fit, size)
    (prepared,) = self.prepare_pictures([(picture, depth)], view)
    if isinstance(prepared, errors.UserError):
      raise prepared
    return prepared

  def prepare_pictures(
    self,
    given: Sequence[preparation.Given],
    view: preparation.View = preparation.DEFAULT,
  ) -> Iterator[inputs.Prepared | errors.UserError]:
    """`prepare_picture` for several; see `preparation.prepare`."""
    return preparation.prepare(self.generator, given, view)

  def scene(
    self,
    prepared: inputs.Prepared,
    prompt: str,
    seed: int = 0,
    fps: float | None = None,
    negative_prompt: str = "",
  ) -> scene_lib.Scene:
    """Makes a 4D scene of one picture; see `scenes`.

    Raises:
      FloatingPointError: if the networks produce a number that is not finite.
    """
    request = generation_requests.SceneRequest(
      prepared, prompt, seed, negative_prompt
    )
    (made,) = self.scenes([request], fps)
    if isinstance(made, FloatingPointError):
      raise made
    return made

  def scenes(
    self,
    requests: Sequence[generation_requests.SceneRequest],
    fps: float | None = None,
    keep: generation_requests.KeepOne = generation_requests.keep_nothing,
  ) -> Iterator[scene_lib.Scene | FloatingPointError]:
    """Makes 4D scenes, all of which go through each stage together.

    Weights are read once for a stage, and not once for a scene. Each scene goes
    through the networks alone, unless the pipeline's options have a batch, so
    that it does not depend on the others, not even by rounding.

    Args:
      requests: what is made.
      fps: frames per second of the scenes; the model's when left out.
      keep: given what the networks draw for each.

    Yields: the scene of each request in turn: of what the picture shows,
      without a letterbox. If the networks produce a number that is not finite,
      the error in its place.
    """
    if self.networks.choices("strag").camera == "original":
      camera = original_conditions.camera(self.size[1:])
      requests = [
        dataclasses.replace(r, prepared=r.prepared.with_camera(camera))
        for r in requests
      ]
    alone = self.generator.options.batch or 1
    plan = list(batches.chunks(len(requests), alone))
    given = [
      generation_requests.picture_batch([requests[i] for i in chosen])
      for chosen, _ in plan
    ]
    found = self.generator.tracks(
      given, generation_requests.keeping(plan, keep)
    )
    for (chosen, kept), drawn in zip(plan, found):
      for number, tracks in zip(chosen[:kept], drawn.tracks):
        yield self._scene(requests[number], tracks, drawn.computed, fps)

  def _scene(
    self,
    request: generation_requests.SceneRequest,
    drawn: Float[np.ndarray, "T H W 3"],
    computed: Bool[np.ndarray, "n"],
    fps: float | None,
  ) -> scene_lib.Scene | FloatingPointError:
    """The scene of trajectories at the model's size."""
    if not np.isfinite(drawn).all():
      return FloatingPointError(
        f"{self.networks.name} produced trajectories that are not finite: its "
        "training diverged, or the depth is extreme"
      )
    prepared = request.prepared
    tracks = timing.at_moments(drawn, self.moments(fps))
    grid = prepared.finer or prepared
    tracks, visible = scene_size.on_grid(tracks, grid)
    return scene_lib.Scene(
      tracks=tracks,
      visible=visible,
      colours=grid.image[grid.window.slices],
      intrinsics=grid.window.intrinsics(grid.intrinsics),
      fps=float(fps or self.fps),
      metadata={
        "prompt": request.prompt,
        "negative_prompt": request.negative_prompt,
        "seed": request.seed,
        "depth": "estimated" if prepared.depth_estimated else "given",
        **self.networks.record("strag"),
        "computed_steps": np.flatnonzero(computed).tolist(),
        "normalisation": dataclasses.asdict(self.networks.normalisation),
        "model_grid": {
          "frames": len(drawn),
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

  def depth_map(
    self, pixels: UInt8[np.ndarray, "H W 3"]
  ) -> depth_sources.DepthMap:
    """Depth of one picture of any size; see `preparation.depth_map`."""
    return preparation.depth_map(self.generator, pixels)

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

    Raises:
      FloatingPointError: if the networks produce a number that is not finite.
    """
    film = self.render(scene, path)
    request = generation_requests.FilmRequest.of(scene, film, seed)
    (completed,) = self.films([request])
    if isinstance(completed, FloatingPointError):
      raise completed
    return completed

  def render(
    self, scene: scene_lib.Scene, path: str | camera_paths.CameraPath
  ) -> completion.Film:
    """A rendering as 4D-ViSM is shown it: filled if those of training were."""
    fill = self.networks.choices("vism").holes == "filled"
    return scene.render(path, render_video.RenderOptions(fill=fill))

  def films(
    self,
    requests: Sequence[generation_requests.FilmRequest],
    batch: int | None = None,
    keep: generation_requests.KeepOne = generation_requests.keep_nothing,
  ) -> Iterator[UInt8[np.ndarray, "T H W 3"] | FloatingPointError]:
    """Fills the holes of renderings, which go through each stage together.

    Args:
      requests: of scenes of any size.
      batch: how many go through a network at once; as the pipeline's options
        have it when left out.
      keep: given what the networks draw for each.

    Yields: the film of each request in turn. If the networks produce a number
      that is not finite, the error in its place.

    Raises:
      UserError: if a rendering has another size than its scene.
    """
    size = self.networks.size("vism")
    at_once = min(self.generator.batch("vism"), len(requests))
    plan = list(batches.chunks(len(requests), batch or max(1, at_once)))
    filled = self.networks.choices("vism").holes == "filled"
    given = [
      generation_requests.rendering_batch(
        [requests[i] for i in chosen], size, filled=filled
      )
      for chosen, _ in plan
    ]
    found = self.generator.videos(
      given, generation_requests.keeping(plan, keep)
    )
    for (chosen, kept), drawn in zip(plan, found):
      for row, number in enumerate(chosen[:kept]):
        request = requests[number]
        if drawn.finite[row]:
          yield completion.from_frame(
            drawn.videos[row], request.rendering, request.coverage
          )
        else:
          yield FloatingPointError(
            f"{self.networks.name} produced a film that is not finite: its "
            "training diverged"
          )


def load(
  checkpoint: str | os.PathLike[str] | None = None,
  overrides: Mapping[str, Any] | None = None,
  loras: Sequence[requests.Request] = (),
  conditions: str = "trained",
  dtype: str | None = None,
  options: generation.Options = generation.DEFAULT,
  frames: int | None = None,
) -> Pipeline:
  """Opens a checkpoint directory made by `more4d bundle`.

  Weights are read when a network is first used.

  Args:
    checkpoint: the directory with `model.json`; None for the one that ships
      with the package.
    overrides: sampler settings that differ from the checkpoint's.
    loras: merged into its transformers; `requests.parse` reads them.
    conditions: "trained" shows the networks what they were trained on,
      "original" what the original's scripts show them.
    dtype: "bfloat16", "float32" or "int8", see `checkpoints.dtypes`: what
      transformers and encoders are held in; None as the checkpoint has it.
    options: how the networks are run.
    frames: of the scenes; None for as many as in training.

  Raises:
    UserError: if it is no bundle, or a damaged one, or a LoRA does not fit, or
      none ships.
  """
  found = requests.open_networks(shipped.find(checkpoint), loras, dtype)
  name = shipped.name(checkpoint)
  return Pipeline(found, name, overrides, conditions, options, frames)
