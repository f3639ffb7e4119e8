"""Names of the video diffusion transformer: original and diffusers.

Source: docs/method/weights.md#transformer. Sizes: D width, M feed-forward
width, C input channels, T text width, F frequencies, I image width, G motion
width, R reference channels, V values of a patch, pt ph pw a patch.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from more4d_jax import errors
from more4d_jax.models import backbone, rotary_order
from more4d_jax.name_maps import motion, table
from more4d_jax.name_maps import stated as stated_lib

HEAD_WIDTH = 128  # Of every published Wan 2.1 transformer.
BLOCK = "blocks.{i}."
_IMAGE, _REFERENCE, _MOTION = "image", "reference", "motion"


def _attention(name: str, path: str) -> tuple[table.Row, ...]:
  rows = []
  for part in "qkvo":
    rows += table.linear(f"{name}.{part}", f"{path}/{part}", "D D")
  for part in ("norm_q", "norm_k"):
    rows += table.norm(f"{name}.{part}", f"{path}/{part}", "D", bias=False)
  return tuple(
    dataclasses.replace(row, rotated=rotary_order.is_rotated(row.paths[0]))
    for row in rows
  )


def _block() -> tuple[table.Row, ...]:
  cross, image = f"{BLOCK}cross_attn", {"group": _IMAGE}
  ours = "blocks/cross_attn"
  rows = [
    table.Row(f"{BLOCK}modulation", "1 6 D", ("blocks/modulation",), "squeeze"),
    *_attention(f"{BLOCK}self_attn", "blocks/self_attn"),
    *table.norm(f"{BLOCK}norm3", "blocks/cross_norm", "D"),
    *_attention(cross, ours),
    *table.linear(f"{cross}.k_img", f"{ours}/k_img", "D D", **image),
    *table.linear(f"{cross}.v_img", f"{ours}/v_img", "D D", **image),
    *table.norm(
      f"{cross}.norm_k_img", f"{ours}/norm_k_img", "D", bias=False, **image
    ),
    *table.linear(f"{BLOCK}ffn.0", "blocks/ffn/fc1", "M D"),
    *table.linear(f"{BLOCK}ffn.2", "blocks/ffn/fc2", "D M"),
  ]
  for place, ours in (("self", "attn"), ("ffn", "ffn")):
    name, path = f"{BLOCK}spatial_guidance_{place}", f"blocks/madanorm_{ours}"
    rows.append(
      table.Row(f"{name}.gate", "D", (f"{path}/gate",), group=_MOTION)
    )
    rows += table.linear(
      f"{name}.spatial_guide.1", f"{path}/proj", "2*D G", group=_MOTION
    )
  return tuple(rows)


def _outer() -> tuple[table.Row, ...]:
  image, motion_row = {"group": _IMAGE}, {"group": _MOTION}
  return (
    *table.linear("patch_embedding", "patch_embed", "D C pt ph pw"),
    *table.linear(
      "ref_conv",
      "reference_embed",
      "D R ph pw",
      layout="frame_kernel",
      group=_REFERENCE,
    ),
    *table.linear("text_embedding.0", "text_embed/fc1", "D T"),
    *table.linear("text_embedding.2", "text_embed/fc2", "D D"),
    *table.linear("time_embedding.0", "time_embed/fc1", "D F"),
    *table.linear("time_embedding.2", "time_embed/fc2", "D D"),
    *table.linear("time_projection.1", "time_projection", "6*D D"),
    *table.norm("img_emb.proj.0", "image_embed/norm1", "I", **image),
    *table.linear("img_emb.proj.1", "image_embed/fc1", "I I", **image),
    *table.linear("img_emb.proj.3", "image_embed/fc2", "D I", **image),
    *table.norm("img_emb.proj.4", "image_embed/norm2", "D", **image),
    *table.linear(
      "feature_adapter.0", "motion_aligner/conv1", "G G 3 3", **motion_row
    ),
    *table.linear(
      "feature_adapter.2", "motion_aligner/conv2", "G G 3 3", **motion_row
    ),
    table.Row("head.modulation", "1 2 D", ("head/modulation",), "squeeze"),
    *table.linear("head.head", "head/linear", "V D"),
  )


_ROWS = (*_outer(), *_block())

# Some exports put this before all names.
_PREFIXES = ("model.diffusion_model.",)

DIT = table.Table("Wan transformer", _ROWS, _PREFIXES)

# The release's 4D-STraG holds its motion encoder too, and what that does not
# use.
STRAG_DIT, STRAG_MOTION = "dit/", "motion_encoder/"
STRAG = table.Table(
  "4D-STraG transformer",
  (
    *table.placed(_ROWS, path=STRAG_DIT),
    *table.placed(
      motion.CARRYING_ROWS,
      name="omnimae_extractor.",
      path=STRAG_MOTION,
      group="motion encoder",
    ),
  ),
  _PREFIXES,
)

_CONDITION = "condition_embedder."
_DIFFUSERS = {
  "time_embedding.0": f"{_CONDITION}time_embedder.linear_1",
  "time_embedding.2": f"{_CONDITION}time_embedder.linear_2",
  "time_projection.1": f"{_CONDITION}time_proj",
  "text_embedding.0": f"{_CONDITION}text_embedder.linear_1",
  "text_embedding.2": f"{_CONDITION}text_embedder.linear_2",
  "img_emb.proj.0": f"{_CONDITION}image_embedder.norm1",
  "img_emb.proj.1": f"{_CONDITION}image_embedder.ff.net.0.proj",
  "img_emb.proj.3": f"{_CONDITION}image_embedder.ff.net.2",
  "img_emb.proj.4": f"{_CONDITION}image_embedder.norm2",
  "modulation": "scale_shift_table",
  "head.modulation": "scale_shift_table",
  "head.head": "proj_out",
  **{f"self_attn.{x}": f"attn1.to_{x}" for x in "qkv"},
  **{f"cross_attn.{x}": f"attn2.to_{x}" for x in "qkv"},
  "self_attn.o": "attn1.to_out.0",
  "cross_attn.o": "attn2.to_out.0",
  "self_attn": "attn1",
  "cross_attn": "attn2",
  "cross_attn.k_img": "attn2.add_k_proj",
  "cross_attn.v_img": "attn2.add_v_proj",
  "cross_attn.norm_k_img": "attn2.norm_added_k",
  "norm3": "norm2",
  "ffn.0": "ffn.net.0.proj",
  "ffn.2": "ffn.net.2",
}
DIFFUSERS = table.Table(
  "Wan transformer in the layout of diffusers",
  table.renamed(
    (row for row in _ROWS if row.group not in (_REFERENCE, _MOTION)),
    _DIFFUSERS,
  ),
)


@dataclasses.dataclass(frozen=True)
class Stated:
  """What tensors do not tell, from the config.json beside them.

  Attributes:
    num_heads: None: the published width per head.
    text_length: tokens of a caption.
  """

  num_heads: int | None = None
  text_length: int = 512
  eps: float = 1e-6

  @classmethod
  def read(cls, values: Mapping[str, Any]) -> "Stated":
    """Reads the original's config.json, or that of diffusers.

    Raises:
      UserError: if it states what cannot be.
    """
    found = {
      "num_heads": stated_lib.count(values, "num_heads", 1, 1024)
      or stated_lib.count(values, "num_attention_heads", 1, 1024),
      "text_length": stated_lib.count(values, "text_len", 1, 1 << 16),
      "eps": stated_lib.number(values, "eps", 1e-12, 1e-2),
    }
    return cls(**{name: v for name, v in found.items() if v is not None})


def config(
  found: table.Match,
  stated: Stated,
  motion_grid: tuple[int, int] = (14, 14),
) -> backbone.DiTConfig:
  """The configuration of a matched transformer.

  Args:
    found: sizes come from here.
    stated: the rest.
    motion_grid: patches of the motion encoder.

  Raises:
    UserError: if the number of heads is unknown.
  """
  sizes = found.sizes
  width, patch = sizes["D"], (sizes["pt"], sizes["ph"], sizes["pw"])
  heads = stated.num_heads or width // HEAD_WIDTH
  if heads == 0 or width % heads or width // heads % 2:
    raise errors.UserError(
      f"expected num_heads for a transformer of width {width}: put the "
      "config.json it was published with beside it"
    )
  groups = {entry.row.group for entry in found.entries}
  return backbone.DiTConfig(
    width=width,
    ffn_width=sizes["M"],
    num_heads=heads,
    num_layers=found.layers["blocks."],
    in_channels=sizes["C"],
    out_channels=sizes["V"] // (patch[0] * patch[1] * patch[2]),
    patch=patch,
    text_width=sizes["T"],
    text_length=stated.text_length,
    frequency_width=sizes["F"],
    eps=stated.eps,
    image_width=sizes["I"] if _IMAGE in groups else None,
    reference=_REFERENCE in groups,
    motion_width=sizes["G"] if _MOTION in groups else None,
    motion_grid=motion_grid,
    motion_alignment="compat",
  )
