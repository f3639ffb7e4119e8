"""A small release: files with the published names, written without PyTorch."""

import json
import pathlib
import pickle
import struct
import zipfile
from collections.abc import Mapping

import numpy as np
from safetensors import numpy as safetensors_numpy

from more4d_jax.models import video_vae
from more4d_jax.name_maps import dit, image, table, text, trajectory, vae
from more4d_jax.name_maps import motion as motion_names

# fmt: off
SIZES = {
  "D": 32, "M": 24, "C": 64, "T": 12, "F": 20, "I": 80, "G": 64, "R": 16,
  "V": 64, "pt": 1, "ph": 2, "pw": 2, "E": 80, "H": 10, "P": 5,
  "A": 12, "B": 32, "K": 3, "O": 7, "J": 11, "L": 9, "Y": 1, "t": 13,
  "mE": 64, "mH": 10, "mP": 32, "mt": 2, "mr": 4, "mc": 4, "me": 4, "mh": 6,
  "mo": 9, "U": 4, "Z": 16, "W": 60,
  "C0": 5, "C1": 6, "C2": 7, "C3": 9,
}
# fmt: on
VAE = video_vae.VideoVAEConfig(width=4, encoder_blocks=1, decoder_blocks=1)
CONFIG = {"num_heads": 2, "dim": 32, "text_len": 512, "in_dim": 48}


def make(
  names: table.Table, layers: int = 2, seed: int = 0, **sizes: int
) -> dict[str, np.ndarray]:
  """Random tensors of a table, of `SIZES` unless given."""
  sizes, generator = {**SIZES, **sizes}, np.random.default_rng(seed)
  weights = {}
  for row in names.rows:
    shape = tuple(f * sizes[n] if n else f for f, n in row.dims)
    for i in range(layers) if table.LAYER in row.name else (0,):
      values = 0.1 * generator.standard_normal(shape)
      name = row.name.replace(table.LAYER, str(i))
      weights[name] = np.asarray(values, np.float32)
  return weights


def without(weights: Mapping, names: table.Table, *groups: str) -> dict:
  """The tensors without those of some groups."""
  gone = tuple(
    row.name.partition(table.LAYER)[2] or row.name
    for row in names.rows
    if row.group in groups
  )
  return {name: v for name, v in weights.items() if not name.endswith(gone)}


def strag() -> dict[str, np.ndarray]:
  """The transformer of 4D-STraG with its motion encoder."""
  return make(dit.STRAG, seed=1)


def inpaint() -> dict[str, np.ndarray]:
  """The transformer of Wan2.1-Fun-InP."""
  weights = make(dit.DIT, seed=2, C=36)
  return without(weights, dit.DIT, "reference", "motion")


def stage_a() -> dict[str, dict[str, np.ndarray]]:
  """The motion VAE: file below VAE/ -> tensors."""
  video = make(vae.table_of(VAE), seed=3)
  return {
    "vae": {f"model.{name}": value for name, value in video.items()},
    "encoder_prompt": make(trajectory.table_of("encoder", 1), seed=4, W=32),
    "decoder_prompt": make(trajectory.table_of("decoder", 2), seed=5, W=32),
  }


def write_safetensors(path: pathlib.Path, weights: Mapping) -> None:
  """With the library."""
  path.parent.mkdir(parents=True, exist_ok=True)
  safetensors_numpy.save_file(dict(weights), path)


def write_shards(folder: pathlib.Path, weights: Mapping) -> None:
  """Two shards and their index."""
  names = sorted(weights)
  halves = names[: len(names) // 2], names[len(names) // 2 :]
  places = {}
  for i, half in enumerate(halves):
    file = f"diffusion_pytorch_model-{i}.safetensors"
    write_safetensors(folder / file, {name: weights[name] for name in half})
    places |= dict.fromkeys(half, file)
  index = folder / "diffusion_pytorch_model.safetensors.index.json"
  index.write_text(json.dumps({"metadata": {}, "weight_map": places}))


def _ops(value) -> bytes:
  """The opcodes that push a value."""
  return pickle.dumps(value, 2)[2:-1]


def _tensor_ops(key: str, value: np.ndarray) -> bytes:
  """PyTorch's opcodes of a float tensor; its modules need not be there."""
  strides = tuple(step // value.itemsize for step in value.strides)
  storage = b"".join(
    [
      b"(",
      _ops("storage"),
      b"ctorch\nFloatStorage\n",
      _ops(key),
      _ops("cpu"),
      _ops(value.size),
      b"tQ",
    ]
  )
  rest = [_ops(0), _ops(value.shape), _ops(strides), _ops(False), _ops({})]
  call = b"ctorch._utils\n_rebuild_tensor_v2\n("
  return call + storage + b"".join(rest) + b"tR"


def _state(weights: Mapping) -> bytes:
  items = b"".join(
    _ops(name) + _tensor_ops(str(i), value)
    for i, (name, value) in enumerate(weights.items())
  )
  return b"\x80\x02}(" + items + b"u."


def write_torch(path: pathlib.Path, weights: Mapping) -> None:
  """PyTorch's zip format, float32."""
  path.parent.mkdir(parents=True, exist_ok=True)
  with zipfile.ZipFile(path, "w") as archive:
    archive.writestr("archive/data.pkl", _state(weights))
    for i, value in enumerate(weights.values()):
      archive.writestr(f"archive/data/{i}", value.tobytes())


def write_torch_legacy(path: pathlib.Path, weights: Mapping) -> None:
  """PyTorch's older format, float32."""
  path.parent.mkdir(parents=True, exist_ok=True)
  start = [pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, {})]
  keys = [str(i) for i in range(len(weights))]
  data = [
    struct.pack("<q", value.size) + value.tobytes()
    for value in weights.values()
  ]
  parts = [*start, _state(weights), pickle.dumps(keys, 2), *data]
  path.write_bytes(b"".join(parts))


def write_tokenizer(folder: pathlib.Path) -> None:
  """A small tokenizer.json: words between spaces."""
  words = ["<pad>", "</s>", "<unk>", "a", "red", "ball", "moves"]
  vocabulary = [[word, 0.0 if i < 3 else -1.0] for i, word in enumerate(words)]
  vocabulary += [[f"▁{word}", -1.0] for word in words[3:]]
  content = {
    "version": "1.0",
    "truncation": None,
    "padding": None,
    "added_tokens": [],
    "normalizer": None,
    "pre_tokenizer": {
      "type": "Metaspace",
      "replacement": "▁",
      "prepend_scheme": "always",
      "split": True,
    },
    "post_processor": None,
    "decoder": None,
    "model": {"type": "Unigram", "unk_id": 2, "vocab": vocabulary},
  }
  folder.mkdir(parents=True, exist_ok=True)
  (folder / "tokenizer.json").write_text(json.dumps(content))


def write(folder: pathlib.Path) -> pathlib.Path:
  """The whole release: 4D-STraG, VAE, and Wan2.1-Fun-InP."""
  write_safetensors(
    folder / "4D-STraG" / "diffusion_pytorch_model.safetensors", strag()
  )
  (folder / "4D-STraG" / "config.json").write_text(json.dumps(CONFIG))
  for name, weights in stage_a().items():
    write_torch(folder / "VAE" / name / "pytorch_model.bin", weights)
  base = folder / "Wan2.1-Fun-InP"
  write_shards(base, inpaint())
  (base / "config.json").write_text(json.dumps({**CONFIG, "in_dim": 36}))
  write_torch_legacy(base / "Wan2.1_VAE.pth", make(vae.table_of(VAE), seed=6))
  encoder = make(text.UMT5, seed=7, D=12, M=18)
  write_torch(base / "models_t5_umt5-xxl-enc-bf16.pth", encoder)
  write_tokenizer(base / "google" / "umt5-xxl")
  clip = make(image.CLIP, seed=8, W=70, T=6)
  write_torch(base / "models_clip.pth", clip)
  return folder


def omnimae() -> dict[str, np.ndarray]:
  """The public motion encoder."""
  return make(motion_names.OMNIMAE, seed=9)
