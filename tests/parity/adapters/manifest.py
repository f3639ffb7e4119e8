"""Names and shapes of full-size models: accepted, and given back exactly.

A manifest is a JSON file with "tensors", name -> shape, or the modules of a
LoRA. There are no values: a model of a terabyte would do.
"""

import json
import pathlib
from collections.abc import Callable

import numpy as np

from more4d_jax import errors
from more4d_jax.lora import dialects
from more4d_jax.name_maps import (
  dit,
  image,
  matching,
  motion,
  table,
  text,
  trajectory,
  vae,
)

Shapes = dict[str, tuple[int, ...]]


def _autoencoder(shapes: Shapes) -> table.Table:
  return vae.table_of(vae.config_of(shapes))


def _trajectory(shapes: Shapes) -> table.Table:
  side = trajectory.side_of(shapes)
  return trajectory.table_of(side, trajectory.blocks_in(shapes, side))


# Start of the file's name -> its table, and whether it must come back.
_TABLES: dict[str, tuple[Callable[[Shapes], table.Table], bool]] = {
  "transformer": (lambda _: dit.STRAG, True),
  "trajectory": (_trajectory, True),
  "vae": (_autoencoder, True),
  "t5": (lambda _: text.UMT5, True),
  "clip": (lambda _: image.CLIP, False),
  "omnimae": (lambda _: motion.OMNIMAE, False),
}


def differences(shapes: Shapes, back: Shapes) -> list[str]:
  """What is not the same on the way back."""
  return [
    f"{name}: {shapes.get(name)} became {back.get(name)}"
    for name in sorted(set(shapes) | set(back))
    if shapes.get(name) != back.get(name)
  ]


def check(shapes: Shapes, kind: str) -> list[str]:
  """Converts shapes there and back.

  Args:
    shapes: published name -> shape.
    kind: start of the manifest's name.

  Returns: what is wrong; nothing if all is well.
  """
  make, must_return = _TABLES[kind]
  names = make(shapes)
  found = matching.match(names, shapes)
  ours: Shapes = {}
  counts: dict[str, set[int]] = {}
  for entry in found.entries:
    for path, layer, shape in entry.places():
      if layer is None:
        ours[path] = shape
      else:
        counts.setdefault(path, set()).add(layer)
        ours[path] = (len(counts[path]), *shape)
  carried = {entry.name: entry.shape for entry in found.carried}
  back = matching.match_params(names, ours, carried)
  given = {e.name: e.shape for e in (*back.entries, *back.carried)}
  dropped = {n: shapes[n] for n in found.unused}
  wrong = differences(shapes, {**given, **dropped})
  if must_return:
    wrong += [f"{name} is dropped" for name in dropped]
  return wrong + [n for n, reason in found.unused.items() if not reason]


def run(folder: pathlib.Path) -> dict[str, list[str]]:
  """What is wrong with each manifest, by the name of its file.

  A manifest that nothing here reads is left out.
  """
  results = {}
  for path in sorted(folder.glob("*.json")):
    content = json.loads(path.read_text())
    if path.name.startswith("lora"):
      results[path.stem] = _lora(content)
    for kind in _TABLES:
      if path.name.startswith(kind):
        shapes = {k: tuple(v) for k, v in content["tensors"].items()}
        results[path.stem] = _checked(shapes, kind)
  return results


def _checked(shapes: Shapes, kind: str) -> list[str]:
  try:
    return check(shapes, kind)
  except errors.UserError as error:
    return [str(error)]


def _lora(content: dict) -> list[str]:
  """Reads and writes a LoRA of the transformer's modules, all zeros."""
  zero, tensors = np.zeros((), np.float16), {}
  for module, (down, up) in content["transformer"].items():
    tensors[f"{module}.lora_down.weight"] = np.broadcast_to(zero, down)
    tensors[f"{module}.lora_up.weight"] = np.broadcast_to(zero, up)
    tensors[f"{module}.alpha"] = np.float16(content["network_alpha"])
  try:
    found = dialects.read(tensors)
  except errors.UserError as error:
    return [str(error)]
  given, _ = dialects.write(found.lora, "original")
  shapes, back = matching.shapes_of(tensors), matching.shapes_of(given)
  return differences(shapes, back)
