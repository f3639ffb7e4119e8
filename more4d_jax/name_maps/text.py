"""Names of the umT5 encoder: original and transformers.

Source: docs/method/weights.md#text-encoder. Sizes: W vocabulary, D width, A
attention width, M feed-forward width, B buckets, K heads.
"""

from more4d_jax.models.encoders import text
from more4d_jax.name_maps import table

_BLOCK = "blocks.{i}."
_POSITION = "pos_embedding.embedding.weight"


def _kernel(name: str, path: str, shape: str) -> tuple[table.Row, ...]:
  return table.linear(name, f"blocks/{path}", shape, bias=False)


_SHARED_ROWS = (
  table.Row("token_embedding.weight", "W D", ("embedding",)),
  *table.norm(f"{_BLOCK}norm1", "blocks/norm1", "D", bias=False),
  *_kernel(f"{_BLOCK}attn.q", "q", "A D"),
  *_kernel(f"{_BLOCK}attn.k", "k", "A D"),
  *_kernel(f"{_BLOCK}attn.v", "v", "A D"),
  *_kernel(f"{_BLOCK}attn.o", "o", "D A"),
  *table.norm(f"{_BLOCK}norm2", "blocks/norm2", "D", bias=False),
  *_kernel(f"{_BLOCK}ffn.gate.0", "gate", "M D"),
  *_kernel(f"{_BLOCK}ffn.fc1", "fc1", "M D"),
  *_kernel(f"{_BLOCK}ffn.fc2", "fc2", "D M"),
  *table.norm("norm", "norm", "D", bias=False),
)
_OWN_TABLES = (
  *_SHARED_ROWS,
  table.Row(f"{_BLOCK}{_POSITION}", "B K", ("blocks/position",)),
)

UMT5 = table.Table("umT5 text encoder", _OWN_TABLES)

# A variant whose layers share one table of positions.
SHARED_POSITIONS = table.Table(
  "T5 text encoder with one table of positions",
  (
    *_SHARED_ROWS,
    table.Row(_POSITION, "B K", ("blocks/position",), every="blocks."),
  ),
)

_ATTENTION, _MLP = "encoder.block.{i}.layer.0.", "encoder.block.{i}.layer.1."
_NAMES = {
  "token_embedding.weight": "shared.weight",
  f"{_BLOCK}norm1.weight": f"{_ATTENTION}layer_norm.weight",
  **{
    f"{_BLOCK}attn.{x}.weight": f"{_ATTENTION}SelfAttention.{x}.weight"
    for x in "qkvo"
  },
  f"{_BLOCK}{_POSITION}": (
    f"{_ATTENTION}SelfAttention.relative_attention_bias.weight"
  ),
  f"{_BLOCK}norm2.weight": f"{_MLP}layer_norm.weight",
  f"{_BLOCK}ffn.gate.0.weight": f"{_MLP}DenseReluDense.wi_0.weight",
  f"{_BLOCK}ffn.fc1.weight": f"{_MLP}DenseReluDense.wi_1.weight",
  f"{_BLOCK}ffn.fc2.weight": f"{_MLP}DenseReluDense.wo.weight",
  "norm.weight": "encoder.final_layer_norm.weight",
}
TRANSFORMERS = table.Table(
  "umT5 text encoder in the layout of transformers",
  (
    *table.renamed(_OWN_TABLES, _NAMES),
    table.Row(
      "encoder.embed_tokens.weight",
      "W D",
      group="tied embedding",
      unused="the same tensor as shared.weight",
    ),
  ),
)


def config(found: table.Match, length: int = 512) -> text.TextEncoderConfig:
  """The configuration of a matched encoder; `length` tokens per caption."""
  sizes = found.sizes
  return text.TextEncoderConfig(
    vocabulary=sizes["W"],
    length=length,
    width=sizes["D"],
    attention_width=sizes["A"],
    ffn_width=sizes["M"],
    num_heads=sizes["K"],
    num_layers=max(found.layers.values()),
    num_buckets=sizes["B"],
  )
