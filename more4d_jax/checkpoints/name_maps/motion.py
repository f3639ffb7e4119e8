"""Names of the OmniMAE motion encoder.

Source: spec 10 section 6. Sizes: E width, H hidden width, P rows of the
position table, tp tubelet, ph pw patch; of the unused decoder e, h.
"""

import dataclasses

from more4d_jax.checkpoints.name_maps import matching, table
from more4d_jax.models.encoders import motion

HEAD_WIDTH = 64
_SLICES = 8  # Of two frames each that the position table covers.
_BLOCK, _DECODER = "trunk.blocks.{i}.", "trunk.decoder.decoder_blocks.{i}."
_QKV = tuple(f"blocks/{part}" for part in "qkv")

_USED = (
  *table.linear("trunk.patch_embed.proj.1", "patch_embed", "E 3 tp ph pw"),
  *table.norm(f"{_BLOCK}norm1", "blocks/norm1", "E"),
  *table.linear(f"{_BLOCK}attn.qkv", "", "3*E E", paths=_QKV),
  *table.linear(f"{_BLOCK}attn.proj", "blocks/o", "E E"),
  *table.norm(f"{_BLOCK}norm2", "blocks/norm2", "E"),
  *table.linear(f"{_BLOCK}mlp.fc1", "blocks/mlp/fc1", "H E"),
  *table.linear(f"{_BLOCK}mlp.fc2", "blocks/mlp/fc2", "E H"),
  *table.norm("trunk.norm", "norm", "E"),
)

_TABLE_REASON = "sines and cosines that are recomputed in float32"
_DECODER_REASON = "part of the decoder that pretraining needed"


def _decoder_rows() -> tuple[table.Row, ...]:
  shapes = {
    "trunk.mask_token": "1 E",
    "trunk.decoder.pos_embed": "1 P E",
    "trunk.decoder.decoder_embed.weight": "e E",
    "trunk.decoder.decoder_embed.bias": "e",
    "trunk.decoder.norm.weight": "e",
    "trunk.decoder.norm.bias": "e",
    f"{_DECODER}norm1.weight": "e",
    f"{_DECODER}norm1.bias": "e",
    f"{_DECODER}attn.qkv.weight": "3*e e",
    f"{_DECODER}attn.proj.weight": "e e",
    f"{_DECODER}attn.proj.bias": "e",
    f"{_DECODER}norm2.weight": "e",
    f"{_DECODER}norm2.bias": "e",
    f"{_DECODER}mlp.fc1.weight": "h e",
    f"{_DECODER}mlp.fc1.bias": "h",
    f"{_DECODER}mlp.fc2.weight": "e h",
    f"{_DECODER}mlp.fc2.bias": "e",
    "head.weight": "o e",
    "head.bias": "o",
  }
  return tuple(
    table.Row(name, shape, unused=_DECODER_REASON, group="decoder")
    for name, shape in shapes.items()
  )


_UNUSED = (
  table.Row("trunk.pos_embed", "1 P E", unused=_TABLE_REASON),
  *_decoder_rows(),
)

OMNIMAE = table.Table("OmniMAE motion encoder", (*_USED, *_UNUSED))

# As part of a 4D-STraG transformer the unused ones are kept, to be given back.
CARRYING_ROWS = (
  *_USED,
  *(dataclasses.replace(row, carried=True) for row in _UNUSED),
)


def config(
  found: table.Match, num_heads: int | None = None, side: int | None = None
) -> motion.MotionEncoderConfig:
  """The configuration of a matched encoder.

  Args:
    found: sizes come from here.
    num_heads: the published width per head decides unless given.
    side: of the square pictures; the position table decides unless given.

  Raises:
    UserError: if the position table is not that of a square picture.
  """
  sizes = found.sizes
  if side is None:
    rows = sizes["P"] // _SLICES
    side = sizes["ph"] * matching.exact_root(rows, found.model)
  return motion.MotionEncoderConfig(
    image_size=(side, side),
    tubelet=sizes["tp"],
    patch=sizes["ph"],
    width=sizes["E"],
    num_layers=next(
      n for s, n in found.layers.items() if s.endswith(_BLOCK[:-4])
    ),
    num_heads=num_heads or sizes["E"] // HEAD_WIDTH,
    mlp_width=sizes["H"],
  )
