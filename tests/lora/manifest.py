"""Every linear map of a small transformer, by names written out by hand."""

LAYERS = 2
SIZES = {"D": 8, "M": 12, "T": 6, "F": 10, "I": 7, "V": 16}

_CE = "condition_embedder"
# Original name -> (input, output, diffusers' name).
# fmt: off
_OUTSIDE = {
  "text_embedding.0": ("T", "D", f"{_CE}.text_embedder.linear_1"),
  "text_embedding.2": ("D", "D", f"{_CE}.text_embedder.linear_2"),
  "time_embedding.0": ("F", "D", f"{_CE}.time_embedder.linear_1"),
  "time_embedding.2": ("D", "D", f"{_CE}.time_embedder.linear_2"),
  "time_projection.1": ("D", "6D", f"{_CE}.time_proj"),
  "img_emb.proj.1": ("I", "I", f"{_CE}.image_embedder.ff.net.0.proj"),
  "img_emb.proj.3": ("I", "D", f"{_CE}.image_embedder.ff.net.2"),
  "head.head": ("D", "V", "proj_out"),
}
_INSIDE = {
  "self_attn.q": ("D", "D", "attn1.to_q"),
  "self_attn.k": ("D", "D", "attn1.to_k"),
  "self_attn.v": ("D", "D", "attn1.to_v"),
  "self_attn.o": ("D", "D", "attn1.to_out.0"),
  "cross_attn.q": ("D", "D", "attn2.to_q"),
  "cross_attn.k": ("D", "D", "attn2.to_k"),
  "cross_attn.v": ("D", "D", "attn2.to_v"),
  "cross_attn.o": ("D", "D", "attn2.to_out.0"),
  "cross_attn.k_img": ("D", "D", "attn2.add_k_proj"),
  "cross_attn.v_img": ("D", "D", "attn2.add_v_proj"),
  "ffn.0": ("D", "M", "ffn.net.0.proj"),
  "ffn.2": ("M", "D", "ffn.net.2"),
}
# fmt: on


def modules(sizes=None):
  """Original name -> (input, output, diffusers' name) of every module."""
  sizes = {**SIZES, **(sizes or {})}
  sizes["6D"] = 6 * sizes["D"]
  found = dict(_OUTSIDE)
  for i in range(LAYERS):
    for name, (width, features, other) in _INSIDE.items():
      found[f"blocks.{i}.{name}"] = (width, features, f"blocks.{i}.{other}")
  return {k: (sizes[w], sizes[f], other) for k, (w, f, other) in found.items()}
