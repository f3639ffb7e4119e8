"""Names of the OmniMAE motion encoder.

Source: docs/method/weights.md#motion-encoder. Sizes: mE width, mH hidden width,
mP rows of the position table, mt tubelet, mr mc patch; of the unused decoder me
width, mh hidden width, mo outputs.
"""

import dataclasses

from more4d_jax.models.encoders import motion
from more4d_jax.name_maps import matching, table

HEAD_WIDTH = 64
_SLICES = 8  # Of two frames each that the position table covers.
_BLOCK, _DECODER = "trunk.blocks.{i}.", "trunk.decoder.decoder_blocks.{i}."
_QKV = tuple(f"blocks/{part}" for part in "qkv")

_USED = (
  *table.linear("trunk.patch_embed.proj.1", "patch_embed", "mE 3 mt mr mc"),
  *table.norm(f"{_BLOCK}norm1", "blocks/norm1", "mE"),
  *table.linear(f"{_BLOCK}attn.qkv", "", "3*mE mE", paths=_QKV),
  *table.linear(f"{_BLOCK}attn.proj", "blocks/o", "mE mE"),
  *table.norm(f"{_BLOCK}norm2", "blocks/norm2", "mE"),
  *table.linear(f"{_BLOCK}mlp.fc1", "blocks/mlp/fc1", "mH mE"),
  *table.linear(f"{_BLOCK}mlp.fc2", "blocks/mlp/fc2", "mE mH"),
  *table.norm("trunk.norm", "norm", "mE"),
)

_TABLE_REASON = "sines and cosines that are recomputed in float32"
_DECODER_REASON = "part of the decoder that pretraining needed"


def _decoder_rows() -> tuple[table.Row, ...]:
  shapes = {
    "trunk.mask_token": "1 mE",
    "trunk.decoder.pos_embed": "1 mP mE",
    "trunk.decoder.decoder_embed.weight": "me mE",
    "trunk.decoder.decoder_embed.bias": "me",
    "trunk.decoder.norm.weight": "me",
    "trunk.decoder.norm.bias": "me",
    f"{_DECODER}norm1.weight": "me",
    f"{_DECODER}norm1.bias": "me",
    f"{_DECODER}attn.qkv.weight": "3*me me",
    f"{_DECODER}attn.proj.weight": "me me",
    f"{_DECODER}attn.proj.bias": "me",
    f"{_DECODER}norm2.weight": "me",
    f"{_DECODER}norm2.bias": "me",
    f"{_DECODER}mlp.fc1.weight": "mh me",
    f"{_DECODER}mlp.fc1.bias": "mh",
    f"{_DECODER}mlp.fc2.weight": "me mh",
    f"{_DECODER}mlp.fc2.bias": "me",
    "head.weight": "mo me",
    "head.bias": "mo",
  }
  return tuple(
    table.Row(name, shape, unused=_DECODER_REASON, group="decoder")
    for name, shape in shapes.items()
  )


_UNUSED = (
  table.Row("trunk.pos_embed", "1 mP mE", unused=_TABLE_REASON),
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
    rows = sizes["mP"] // _SLICES
    side = sizes["mr"] * matching.exact_root(rows, found.model)
  return motion.MotionEncoderConfig(
    image_size=(side, side),
    tubelet=sizes["mt"],
    patch=sizes["mr"],
    width=sizes["mE"],
    num_layers=next(
      n for s, n in found.layers.items() if s.endswith(_BLOCK[:-4])
    ),
    num_heads=num_heads or sizes["mE"] // HEAD_WIDTH,
    mlp_width=sizes["mH"],
  )
