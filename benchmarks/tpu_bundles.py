"""Instructions of attention on TPUs, beside jax's splash attention.

Run from the repository, with libtpu installed (`make test-aot` does):

    PYTHONPATH=. python benchmarks/tpu_bundles.py [--targets v5p:2x2x1,v6e:2x2]

It compiles for TPUs that are not there and counts the bundles (very long
instructions, one per cycle without stalls) of one tile of 1024 queries and
1024 keys at head width 128 in bfloat16: the largest piece of each kernel
without a branch. Splash attention computes several slices of the keys of a
tile one after the other; its row is the best of --slices. Its backward
kernel is the fused one, after which XLA still sums partial gradients of the
queries that are not counted here.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import re
import tempfile

from more4d_jax.planning import absent_devices

TILE = 1024
TARGETS = ",".join(absent_devices.TPU_TARGETS)
KERNELS = {
  ("ours", "forward"): "attention_forward",
  ("ours", "backward"): "attention_backward",
  ("splash", "forward"): "splash_mha_fwd_residuals",
  ("splash", "backward"): "splash_mha_dkv_no_residuals",
}


def largest_piece(text: str) -> int:
  """Bundles of the largest region of a listing that holds no other region."""
  starts, ends, address = {}, {}, 0
  for line in text.splitlines():
    found = re.match(r"\s*(0x[0-9a-f]+|0)\s", line)
    if found:
      address = int(found.group(1), 16)
    for kind, region in re.findall(r"(Start|End) region (\d+)", line):
      (starts if kind == "Start" else ends)[region] = address
  spans = {r: (starts[r], ends[r]) for r in starts.keys() & ends.keys()}

  def holds_another(region):
    start, end = spans[region]
    return any(
      other != region and start <= first and last <= end and last - first > 9
      for other, (first, last) in spans.items()
    )

  sizes = [e - s + 1 for r, (s, e) in spans.items() if not holds_another(r)]
  return max(sizes)


def _compile(device, function, *shapes):
  import jax

  sharding = jax.sharding.SingleDeviceSharding(device)
  arguments = [
    jax.ShapeDtypeStruct(shape, dtype, sharding=sharding)
    for shape, dtype in shapes
  ]
  jax.jit(function).lower(*arguments).compile()


def compile_ours(device) -> None:
  """Both passes; the last tile of keys is a shorter one, with its own code."""
  from more4d_jax.kernels.attention import mosaic_tpu

  kind = device.device_kind
  tiles = dataclasses.replace(
    mosaic_tpu.tiles_for(kind),
    **dict.fromkeys(
      ("queries", "keys", "backward_queries", "backward_keys"), TILE
    ),
  )
  q, k = ((1, n, 2, 128) for n in (2 * TILE, 2 * TILE + 128))
  options = {"scale": 1.0, "tiles": tiles}

  def both(q, k, v, d_out, d_lse):
    outputs = mosaic_tpu.forward(q, k, v, None, **options)
    return mosaic_tpu.backward(
      (q, k, v, None), outputs, (d_out, d_lse), **options
    )

  shapes = [(shape, "bfloat16") for shape in (q, k, k, q)]
  _compile(device, both, *shapes, (q[:3], "float32"))


def compile_splash(device, slices: tuple[int, int]) -> None:
  """Both passes.

  Args:
    device: of a topology.
    slices: keys at once, forward and backward.
  """
  import jax
  import jax.numpy as jnp
  from jax.experimental.pallas.ops.tpu import splash_attention as splash

  masks = splash.splash_attention_mask
  kernels = splash.splash_attention_kernel
  sizes = kernels.BlockSizes(
    block_q=TILE,
    block_kv=TILE,
    block_kv_compute=slices[0],
    block_q_dkv=TILE,
    block_kv_dkv=TILE,
    block_kv_dkv_compute=slices[1],
    use_fused_bwd_kernel=True,
  )
  mask = masks.MultiHeadMask([masks.FullMask((2 * TILE, 2 * TILE))] * 2)
  attend = kernels.make_splash_mha(
    mask, block_sizes=sizes, head_shards=1, q_seq_shards=1
  )

  def loss(q, k, v):
    return jnp.sum(attend(q, k, v).astype(jnp.float32))

  shapes = [((2, 2 * TILE, 128), "bfloat16")] * 3
  _compile(device, jax.grad(loss, (0, 1, 2)), *shapes)


def _take_counts(folder, author):
  """Reads the listings of one author's kernels and empties the folder."""
  counts = {}
  for (whose, pass_name), kernel in KERNELS.items():
    if whose == author:
      (listing,) = folder.glob(f"*-{kernel}.*-final_bundles.txt")
      counts[pass_name] = largest_piece(listing.read_text())
  for path in folder.iterdir():
    path.unlink()
  return counts


def count(target: str, slices: list[tuple[int, int]], folder: pathlib.Path):
  """Bundles of a tile by author and pass, splash attention's best."""
  device = absent_devices.tpu_devices(target)[0]
  compile_ours(device)
  ours = _take_counts(folder, "ours")
  tried = []
  for pair in slices:
    compile_splash(device, pair)
    tried.append(_take_counts(folder, "splash"))
  splash = {name: min(c[name] for c in tried) for name in ours}
  return {"ours": ours, "splash": splash}


def main() -> None:
  """Prints a JSON line for each target and pass."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--targets", default=TARGETS)
  parser.add_argument(
    "--slices",
    default="256:512,512:256,1024:1024",
    help="pairs of splash attention's keys at once, forward:backward",
  )
  flags = parser.parse_args()
  slices = [tuple(map(int, p.split(":"))) for p in flags.slices.split(",")]
  with tempfile.TemporaryDirectory() as folder:
    os.environ["JAX_PLATFORMS"] = "cpu"
    absent_devices.list_tpu_instructions(folder)
    for target in flags.targets.split(","):
      counts = count(target, slices, pathlib.Path(folder))
      for name, ours in counts["ours"].items():
        splash = counts["splash"][name]
        line = {"target": target, "pass": name, "ours": ours, "splash": splash}
        print(
          json.dumps({**line, "ratio": round(ours / splash, 3)}), flush=True
        )


if __name__ == "__main__":
  main()
