"""Which parameter of the transformer a tensor of a LoRA file changes.

Trainers put different words before a module's name, join its parts with dots
or underscores or both, and use the original's names or those of diffusers. A
name is understood whatever the mixture: what stands before it is dropped, and
names are compared with all dots as underscores.
"""

import dataclasses
import functools
import re
from collections.abc import Iterator, Mapping

from more4d_jax.models import lora as lora_lib
from more4d_jax.name_maps import dit, table

TABLES: Mapping[str, table.Table] = {
  "original": dit.DIT,
  "diffusers": dit.DIFFUSERS,
}
# What wrappers, trainers and file formats put before a module, in any number.
_BEFORE = re.compile(
  r"(?:(?:lora_unet|lora_transformer|lycoris)_+"
  r"|(?:base_model|model|diffusion_model|transformer|unet|dit|pipe|module"
  r"|_orig_mod)[._])*"
)
_LAYER = re.compile(r"blocks_(\d{1,6})(?=_|$)")
# A LoRA of a text encoder, which nothing here applies.
_TEXT_ENCODER = re.compile(r"(?:lora_te\d*_|te\d?\.|text_encoders?(?:_\d)?\.)")


@dataclasses.dataclass(frozen=True)
class Parameter:
  """A parameter that a file names.

  Attributes:
    row: of the table that knows the name.
    layer: its number, None outside a stack.
    table: which of `TABLES` knows the name.
  """

  row: table.Row
  layer: int | None
  table: str

  @property
  def place(self) -> lora_lib.Place:
    """Our path and the layer."""
    return self.row.paths[0], self.layer


def is_of_text_encoder(name: str) -> bool:
  """Whether a tensor belongs to a LoRA of a text encoder."""
  return _TEXT_ENCODER.match(name) is not None


def without_prefix(name: str) -> str:
  """A module's name without what trainers put before it."""
  return name[_BEFORE.match(name).end() :]


@functools.cache
def _parameters() -> dict[str, tuple[str, table.Row]]:
  """Name with underscores only, "{i}" for the layer -> table and row."""
  found: dict[str, tuple[str, table.Row]] = {}
  for name, names in TABLES.items():
    for row in names.rows:
      found.setdefault(row.name.replace(".", "_"), (name, row))
  return found


def find(name: str) -> Parameter | None:
  """The parameter of a name such as "lora_unet_blocks_3.self_attn.q.weight"."""
  flat = without_prefix(name).replace(".", "_")
  layer = _LAYER.match(flat)
  if layer:
    flat = f"blocks_{table.LAYER}{flat[layer.end() :]}"
  known = _parameters().get(flat)
  if known is None:
    return None
  number = None if layer is None else int(layer.group(1))
  return Parameter(known[1], number, known[0])


def published(place: lora_lib.Place, names: str) -> table.Row | None:
  """The row of one of our parameters in one of `TABLES`, None without one.

  Args:
    place: path of the parameter, such as "blocks/ffn/fc1/kernel", and layer.
    names: key of `TABLES`.
  """
  return _rows(names).get(place[0])


@functools.cache
def _rows(names: str) -> dict[str, table.Row]:
  return {row.paths[0]: row for row in TABLES[names].rows}


def spellings(name: str, found: Parameter) -> Iterator[str]:
  """What a module may be called in the options of a file.

  Args:
    name: of the module in the file.
    found: its weight.
  """
  yield without_prefix(name)
  yield name
  for names in TABLES:
    row = published(found.place, names)
    if row is not None:
      yield with_layer(row.name, found.layer).rpartition(".")[0]


def with_layer(name: str, layer: int | None) -> str:
  """A row's name, or a part of one, in one layer."""
  return name if layer is None else name.replace(table.LAYER, str(layer))
