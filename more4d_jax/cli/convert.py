"""`more4d convert`: published weights to a checkpoint, and back."""

import pathlib
from typing import Annotated

import tyro

from more4d_jax.cli import outputs
from more4d_jax.published import assembly, revert
from more4d_jax.published import convert as conversion


def convert(
  *,
  source: Annotated[pathlib.Path, tyro.conf.arg(name="from")],
  to: pathlib.Path,
  reverse: bool = False,
  dtype: str | None = None,
  frames: int = 49,
  height: int = 368,
  width: int = 512,
) -> None:
  """Adds published weights to a checkpoint directory, or gives ours back.

  What a file holds is told from the names in it: transformers of Wan2.1-Fun
  and 4D-STraG, video and motion VAE, umT5, CLIP, OmniMAE, Depth Anything V2.
  Convert all files into one directory; `more4d generate --checkpoint` takes it
  when the networks are complete.

  Args:
    source: a file or folder; with --reverse a checkpoint, workdir or network.
    to: checkpoint directory, made or added to; with --reverse a new folder.
    reverse: writes safetensors with the original's names.
    dtype: bfloat16 or float32: what weights are stored in, and what
      transformers and encoders compute in; float16 is stored only. int8 is
      for the kernels of their layers, each output with a scale, all else as
      bfloat16. The tensors' own when left out.
    frames: of the clips that the weights were trained on.
    height: of them, in pixels.
    width: of them, in pixels.
  """
  outputs.check_folder(to)
  if reverse:
    lines = revert.revert(source, to, dtype)
  else:
    clip = assembly.Clip(frames, height, width)
    options = conversion.Options(dtype=dtype, clip=clip)
    lines = conversion.describe(conversion.convert(source, to, options))
  for line in lines:
    print(line)
