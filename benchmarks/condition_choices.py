"""How much each choice of the original's conditions changes the velocity.

  python -m benchmarks.condition_choices [--size tiny] [--scenes 3]

Networks with random weights (and a small image encoder where the size has
none) see procedural pictures (and renderings of their
scenes) as ours are shown them, and with one choice of the original's at a
time. Printed as a Markdown table: the change of the velocity, root mean square
over that of the velocity itself, over all pictures at three noise levels; and
for the camera, which no network sees, the change of the tracks. Velocities of
random weights tell how far a choice reaches, not how much better one is.
"""

import argparse
import dataclasses
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from data_pipelines.procedural import records
from more4d_jax import checkpoint_networks, registry
from more4d_jax import scene as scene_lib
from more4d_jax.checkpoints import store
from more4d_jax.geometry import cameras
from more4d_jax.models import variants
from more4d_jax.models.encoders import image
from more4d_jax.sampling import (
  networks,
  noise,
  original_conditions,
  sample_strag,
  sample_vism,
  stages,
)
from tests import nano_bundle

_TIMESTEPS = (900.0, 500.0, 100.0)
_INVALID = 0.01  # Share of the depth's pixels.
_KINDS = ("strag", "vism", "video_vae")
_Row = tuple[str, str, float]


def with_image_encoders(variant: variants.Variant) -> variants.Variant:
  """Networks that see image features, which only the published sizes have."""
  if variant.published:
    return variant
  encoder = image.ImageEncoderConfig(
    width=160, num_heads=4, num_layers=4, mlp_width=640
  )
  found = {}
  for kind in ("strag", "vism"):
    config = getattr(variant, kind)
    dit = dataclasses.replace(config.dit, image_width=encoder.width)
    found[kind] = dataclasses.replace(config, dit=dit, image=encoder)
  return dataclasses.replace(variant, **found)


def random_networks(size: str) -> checkpoint_networks.CheckpointNetworks:
  """Networks of a size with random weights of every parameter."""
  variant = with_image_encoders(variants.get(size))
  found = {
    kind: store.Network(
      kind,
      getattr(variant, kind),
      nano_bundle.params_of(variant, kind),
      nano_bundle.metadata_of(variant, kind),
    )
    for kind in _KINDS
  }
  return checkpoint_networks.CheckpointNetworks(found)


def scenes(size: str, count: int) -> list[scene_lib.Scene]:
  """Procedural scenes of the networks' size, their first depth in frame 0."""
  variant = variants.get(size)
  options = records.RecordOptions(
    variant.frames, variant.height, variant.width, light=True, version=2
  )
  found = []
  for number in range(count):
    record = records.make_record(number, options)
    found.append(
      scene_lib.Scene(
        record.tracks,
        record.visible,
        record.video[0],
        record.intrinsics,
        record.fps,
      )
    )
  return found


@jax.jit
def _velocity(
  model: networks.BoundModule, latents: Any, timestep: Any, given: Any
) -> Any:
  return model(latents, jnp.full(len(latents), timestep), given)


class Velocities:
  """Velocities of one kind of network under several choices."""

  def __init__(self, run: stages.Stages, kind: str, batch: Any):
    """Keeps what all of them share.

    Args:
      run: lends the networks.
      kind: "strag" or "vism".
      batch: as the kind's sampler takes it.
    """
    self._run, self._batch = run, batch
    self._sampler = sample_strag if kind == "strag" else sample_vism
    self._stage = self._sampler.STEPS

  def of(self, choices: Any) -> np.ndarray:
    """Velocities at all noise levels."""
    (given,) = self._sampler.encode_conditions(
      self._run, [self._batch], choices
    )
    with self._run.borrow(self._stage) as model:
      return np.stack(
        [
          self._run.call(_velocity, model, self._batch.noise, t, given)
          for t in np.float32(_TIMESTEPS)
        ]
      )


def changes(kind: str, velocities: Velocities) -> Iterator[_Row]:
  """Each of the original's choices alone, and all of them together."""
  own = registry.NETWORKS[kind].conditions_class()
  preset = original_conditions.PRESET[kind]
  base = velocities.of(own)
  cases = {name: {name: value} for name, value in preset.items()}
  if kind == "strag":
    del cases["camera"]
  else:
    del cases["holes"]  # Ours too.
    cases |= {f"holes {v}": {"holes": v} for v in ("filled", "rendered")}
  cases["all of the original's"] = dict(preset)
  for name, fields in cases.items():
    found = velocities.of(dataclasses.replace(own, **fields))
    words = ", ".join(f"{k} = {v}" for k, v in fields.items())
    yield name, words, relative(found, base)


def relative(found: np.ndarray, base: np.ndarray) -> float:
  """Root mean square of a change over that of what is changed."""
  return float(np.sqrt(np.mean((found - base) ** 2) / np.mean(base**2)))


def pictures(
  found: list[scene_lib.Scene], text: np.ndarray
) -> sample_strag.Pictures:
  """The scenes' pictures; some of their depth is not known, but filled."""
  depths = np.stack([scene.tracks[0, ..., 2] for scene in found])
  known = np.random.default_rng(0).random(depths.shape) >= _INVALID
  for depth, mask in zip(depths, known):
    depth[~mask] = np.median(depth[mask])
  shape = (found[0].num_frames, *found[0].size)
  return sample_strag.Pictures(
    np.stack([scene.colours for scene in found]),
    depths,
    np.stack([scene.intrinsics for scene in found]),
    text,
    None,
    noise.latents([(0, i) for i in range(len(found))], "strag", shape),
    known,
  )


def renderings(
  found: list[scene_lib.Scene], text: np.ndarray
) -> sample_vism.Renderings:
  """The scenes filmed from the side."""
  films = [scene.render("left") for scene in found]
  shape = (found[0].num_frames, *found[0].size)
  return sample_vism.Renderings(
    np.stack([colours for colours, _ in films]),
    np.stack([covered for _, covered in films]),
    np.stack([scene.colours for scene in found]),
    text,
    None,
    noise.latents([(0, i) for i in range(len(found))], "vism", shape),
  )


def camera_change(found: list[scene_lib.Scene]) -> float:
  """How far the original's camera moves the points of the pictures."""
  camera = original_conditions.camera(found[0].size)
  depths = jnp.stack([scene.tracks[0, ..., 2] for scene in found])
  lenses = jnp.stack([scene.intrinsics for scene in found])
  own = cameras.unproject(depths, lenses)
  other = cameras.unproject(depths, jnp.broadcast_to(camera, lenses.shape))
  return relative(np.asarray(other), np.asarray(own))


def main() -> None:
  """Prints the table."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--size", default="tiny", choices=variants.VARIANTS)
  parser.add_argument("--scenes", type=int, default=3)
  options = parser.parse_args()
  found = random_networks(options.size)
  run = stages.Stages(found.lend)
  scenes_found = scenes(options.size, options.scenes)
  print("| network | choice | changed | relative change |")
  print("|---|---|---|---:|")
  for kind, make in (("strag", pictures), ("vism", renderings)):
    config = found.network(kind).config
    shape = (options.scenes, config.text.length, config.dit.text_width)
    text = np.random.default_rng(1).standard_normal(shape, np.float32)
    velocities = Velocities(run, kind, make(scenes_found, text))
    for name, words, change in changes(kind, velocities):
      print(f"| {kind} | {name} | {words} | {100 * change:.3f} % |", flush=True)
  change = 100 * camera_change(scenes_found)
  print(f"| none | camera | first points of the tracks | {change:.3f} % |")


if __name__ == "__main__":
  main()
