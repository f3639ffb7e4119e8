"""Names of CLIP's image tower: original and transformers.

Source: docs/method/weights.md#image-encoder. Sizes: E width, H hidden width, P
positions, ph pw patch, O shared width; of the unused text tower W words, T
width, t hidden, L positions, Y token types.
"""

from more4d_jax.models.encoders import image
from more4d_jax.name_maps import matching, table

HEAD_WIDTH = 80
_LAST = "features come from the last block but one"
_HEAD = "features are taken before it"
_TEXT = "only the image tower is used"
_QKV = tuple(f"blocks/{part}" for part in "qkv")


def _block(block: str, names: dict[str, str]) -> tuple[table.Row, ...]:
  row = {"last_unused": _LAST}
  return (
    *table.norm(f"{block}{names['norm1']}", "blocks/norm1", "E", **row),
    *table.linear(f"{block}{names['o']}", "blocks/o", "E E", **row),
    *table.norm(f"{block}{names['norm2']}", "blocks/norm2", "E", **row),
    *table.linear(f"{block}{names['fc1']}", "blocks/mlp/fc1", "H E", **row),
    *table.linear(f"{block}{names['fc2']}", "blocks/mlp/fc2", "E H", **row),
  )


def _unused(reason: str, shapes: dict[str, str], **row):
  return tuple(
    table.Row(name, shape, unused=reason, **row)
    for name, shape in shapes.items()
  )


def _text_tower() -> tuple[table.Row, ...]:
  block = "textual.blocks.{i}."
  shapes = {"textual.token_embedding.weight": "W T"}
  shapes |= {"textual.type_embedding.weight": "Y T"}
  shapes |= {"textual.pos_embedding.weight": "L T"}
  shapes |= {f"textual.norm.{kind}": "T" for kind in ("weight", "bias")}
  shapes |= {"textual.head.0.weight": "J T", "textual.head.2.weight": "O J"}
  for part in "qkvo":
    shapes[f"{block}attn.{part}.weight"] = "T T"
    shapes[f"{block}attn.{part}.bias"] = "T"
  for part in ("norm1", "norm2"):
    shapes |= {f"{block}{part}.{kind}": "T" for kind in ("weight", "bias")}
  shapes |= {f"{block}ffn.0.weight": "t T", f"{block}ffn.0.bias": "t"}
  shapes |= {f"{block}ffn.2.weight": "T t", f"{block}ffn.2.bias": "T"}
  return _unused(_TEXT, shapes, group="text tower")


_BLOCK = "visual.transformer.{i}."
CLIP = table.Table(
  "CLIP image encoder",
  (
    table.Row("visual.cls_embedding", "1 1 E", ("class_token",), "squeeze"),
    table.Row("visual.pos_embedding", "1 P E", ("position",), "squeeze"),
    *table.linear(
      "visual.patch_embedding",
      "patch_embed",
      "E 3 ph pw",
      bias=False,
      layout="frame_kernel",
    ),
    *table.norm("visual.pre_norm", "pre_norm", "E"),
    *table.linear(
      f"{_BLOCK}attn.to_qkv", "", "3*E E", paths=_QKV, last_unused=_LAST
    ),
    *_block(
      _BLOCK,
      {
        "norm1": "norm1",
        "o": "attn.proj",
        "norm2": "norm2",
        "fc1": "mlp.0",
        "fc2": "mlp.2",
      },
    ),
    *_unused(
      _HEAD,
      {
        "visual.post_norm.weight": "E",
        "visual.post_norm.bias": "E",
        "visual.head": "E O",
      },
      group="head",
    ),
    *_unused(_TEXT, {"log_scale": ""}, group="scale"),
    *_text_tower(),
  ),
  ("model.",),
)

_EMBEDDINGS, _LAYER = (
  "embeddings.",
  "encoder.layers.{i}.",
)
TRANSFORMERS = table.Table(
  "CLIP image encoder in the layout of transformers",
  (
    table.Row(f"{_EMBEDDINGS}class_embedding", "E", ("class_token",)),
    table.Row(f"{_EMBEDDINGS}position_embedding.weight", "P E", ("position",)),
    *table.linear(
      f"{_EMBEDDINGS}patch_embedding",
      "patch_embed",
      "E 3 ph pw",
      bias=False,
      layout="frame_kernel",
    ),
    # The library's own spelling.
    *table.norm("pre_layrnorm", "pre_norm", "E"),
    *(
      row
      for part in "qkv"
      for row in table.linear(
        f"{_LAYER}self_attn.{part}_proj",
        f"blocks/{part}",
        "E E",
        last_unused=_LAST,
      )
    ),
    *_block(
      _LAYER,
      {
        "norm1": "layer_norm1",
        "o": "self_attn.out_proj",
        "norm2": "layer_norm2",
        "fc1": "mlp.fc1",
        "fc2": "mlp.fc2",
      },
    ),
    *_unused(
      _HEAD,
      {
        "post_layernorm.weight": "E",
        "post_layernorm.bias": "E",
      },
      group="head",
    ),
    *_unused(
      "consecutive numbers", {f"{_EMBEDDINGS}position_ids": "1 P"}, group="ids"
    ),
  ),
  ("vision_model.",),
)


def config(
  found: table.Match, num_heads: int | None = None
) -> image.ImageEncoderConfig:
  """The configuration of a matched tower.

  Args:
    found: sizes come from here.
    num_heads: the published width per head decides unless given.

  Raises:
    UserError: if the position table is not that of a square picture.
  """
  sizes = found.sizes
  side = matching.exact_root(sizes["P"] - 1, found.model)
  blocks = max(
    n for s, n in found.layers.items() if s and not s.startswith("textual")
  )
  return image.ImageEncoderConfig(
    image_size=side * sizes["ph"],
    patch=sizes["ph"],
    width=sizes["E"],
    num_heads=num_heads or sizes["E"] // HEAD_WIDTH,
    num_layers=blocks - 1,
    mlp_width=sizes["H"],
  )
