"""Names of the video autoencoder: original and diffusers.

The number of a tensor's block depends on the sizes of the network, so the
table is made for a configuration, which names and shapes tell. Source:
docs/method/weights.md#video-autoencoder. Sizes: U unit of the channels, Z
latent channels.
"""

import re
from collections.abc import Iterable, Mapping

from more4d_jax import errors
from more4d_jax.models import video_vae
from more4d_jax.name_maps import table

_PREFIXES = ("model.",)


def config_of(
  shapes: Mapping[str, table.Shape],
) -> video_vae.VideoVAEConfig:
  """Reads the configuration off published names and shapes.

  Raises:
    UserError: if they are not those of a video autoencoder.
  """
  (prefix,) = {
    prefix
    for prefix in ("", *_PREFIXES)
    if f"{prefix}encoder.conv1.weight" in shapes
  } or {""}
  downs = _places(shapes, f"{prefix}encoder.downsamples")
  ups = _places(shapes, f"{prefix}decoder.upsamples")
  needed = [f"{prefix}encoder.conv1.weight", f"{prefix}encoder.head.2.weight"]
  needed += [f"{prefix}conv2.weight"]
  if not downs or not ups or any(name not in shapes for name in needed):
    raise errors.UserError(
      f"expected a video autoencoder with {', '.join(needed)} and resampling, "
      "found other tensors: use Wan2.1_VAE.pth or vae/pytorch_model.bin"
    )
  first, last, latent = (shapes[name] for name in needed)
  down = f"{prefix}encoder.downsamples"
  widths = [shapes[f"{down}.{i}.resample.1.weight"][0] for i in downs]
  widths.append(last[1])
  return video_vae.VideoVAEConfig(
    width=first[0],
    multipliers=tuple(width // first[0] for width in widths),
    encoder_blocks=downs[0],
    decoder_blocks=ups[0],
    temporal_downsample=tuple(
      f"{down}.{i}.time_conv.weight" in shapes for i in downs
    ),
    latent_channels=latent[0],
  )


def _places(names: Iterable[str], side: str) -> list[int]:
  pattern = re.compile(rf"{re.escape(side)}\.(\d+)\.resample\.1\.weight")
  return sorted(int(m.group(1)) for m in map(pattern.fullmatch, names) if m)


def table_of(config: video_vae.VideoVAEConfig) -> table.Table:
  """The table of a configuration."""
  rows = (*_encoder(config), *_decoder(config), *_OUTER)
  return table.Table("Wan video autoencoder", tuple(rows), _PREFIXES)


_OUTER = (
  *table.linear("conv1", "quant_conv", "2*Z 2*Z 1 1 1"),
  *table.linear("conv2", "post_quant_conv", "Z Z 1 1 1"),
)


class _Sizes:
  """Channels of the levels as multiples of one unit."""

  def __init__(self, config: video_vae.VideoVAEConfig):
    # An upsampling halves the channels; the unit keeps that a whole number.
    halved = config.multipliers[1:]
    self._unit = 2 if any(m % 2 for m in halved) else 1
    self._multipliers = config.multipliers

  def level(self, index: int) -> str:
    return f"{self._unit * self._multipliers[index]}*U"

  def half(self, index: int) -> str:
    return f"{self._unit * self._multipliers[index] // 2}*U"


def _gamma(name: str, path: str, shape: str) -> table.Row:
  return table.Row(f"{name}.gamma", shape, (f"{path}/scale",), "squeeze")


def _residual(name: str, path: str, inp: str, out: str) -> list[table.Row]:
  rows = [
    _gamma(f"{name}.residual.0", f"{path}/norm_1", f"{inp} 1 1 1"),
    *table.linear(f"{name}.residual.2", f"{path}/conv_1", f"{out} {inp} 3 3 3"),
    _gamma(f"{name}.residual.3", f"{path}/norm_2", f"{out} 1 1 1"),
    *table.linear(f"{name}.residual.6", f"{path}/conv_2", f"{out} {out} 3 3 3"),
  ]
  if inp != out:
    rows += table.linear(
      f"{name}.shortcut", f"{path}/shortcut", f"{out} {inp} 1 1 1"
    )
  return rows


def _ends(side: str, first: str, middle: str, last: str) -> list[table.Row]:
  """First and last convolution, and the middle with its channels."""
  name, path = f"{side}.middle.1", f"{side}/middle/attention"
  ours, qkv = f"{side}/middle", middle.replace("*", " ").split()
  triple = f"{3 * int(qkv[0])}*{qkv[1]}"
  channels = last.split()[1]
  return [
    *table.linear(f"{side}.conv1", f"{side}/conv_in", first),
    *_residual(f"{side}.middle.0", f"{ours}/block_0", middle, middle),
    _gamma(f"{name}.norm", f"{path}/norm", f"{middle} 1 1"),
    *table.linear(f"{name}.to_qkv", f"{path}/qkv", f"{triple} {middle} 1 1"),
    *table.linear(f"{name}.proj", f"{path}/out", f"{middle} {middle} 1 1"),
    *_residual(f"{side}.middle.2", f"{ours}/block_1", middle, middle),
    _gamma(f"{side}.head.0", f"{side}/norm_out", f"{channels} 1 1 1"),
    *table.linear(f"{side}.head.2", f"{side}/conv_out", last),
  ]


def _resample(
  name: str, path: str, shapes: tuple[str, str], *, temporal: bool
) -> list[table.Row]:
  rows = [*table.linear(f"{name}.resample.1", f"{path}/spatial", shapes[0])]
  if temporal:
    rows += table.linear(f"{name}.time_conv", f"{path}/temporal", shapes[1])
  return rows


def _encoder(config: video_vae.VideoVAEConfig) -> list[table.Row]:
  sizes, place, rows = _Sizes(config), 0, []
  inp = sizes.level(0)
  for level in range(len(config.multipliers)):
    out, path = sizes.level(level), f"encoder/level_{level}"
    for i in range(config.encoder_blocks):
      name = f"encoder.downsamples.{place}"
      rows += _residual(name, f"{path}/block_{i}", inp, out)
      inp, place = out, place + 1
    if level < len(config.temporal_downsample):
      rows += _resample(
        f"encoder.downsamples.{place}",
        f"{path}/downsample",
        (f"{out} {out} 3 3", f"{out} {out} 3 1 1"),
        temporal=config.temporal_downsample[level],
      )
      place += 1
  first, last = f"{sizes.level(0)} 3 3 3 3", f"2*Z {out} 3 3 3"
  return [*_ends("encoder", first, out, last), *rows]


def _decoder(config: video_vae.VideoVAEConfig) -> list[table.Row]:
  """Levels from the coarsest; an upsampling halves the channels."""
  sizes, place, rows = _Sizes(config), 0, []
  levels = len(config.multipliers)
  top = inp = sizes.level(levels - 1)
  for level in range(levels):
    index = levels - 1 - level
    out, path = sizes.level(index), f"decoder/level_{level}"
    for i in range(config.decoder_blocks):
      name = f"decoder.upsamples.{place}"
      rows += _residual(name, f"{path}/block_{i}", inp, out)
      inp, place = out, place + 1
    if level < len(config.temporal_downsample):
      inp = sizes.half(index)
      twice = sizes.half(index).split("*")
      rows += _resample(
        f"decoder.upsamples.{place}",
        f"{path}/upsample",
        (f"{inp} {out} 3 3", f"{4 * int(twice[0])}*U {out} 3 1 1"),
        temporal=config.temporal_downsample[::-1][level],
      )
      place += 1
  first, last = f"{top} Z 3 3 3", f"3 {out} 3 3 3"
  return [*_ends("decoder", first, top, last), *rows]


def diffusers_table(config: video_vae.VideoVAEConfig) -> table.Table:
  """The table of a configuration under diffusers' names."""
  names = {"conv1": "quant_conv", "conv2": "post_quant_conv"}
  for side in ("encoder", "decoder"):
    names |= {
      f"{side}.conv1": f"{side}.conv_in",
      f"{side}.head.0": f"{side}.norm_out",
      f"{side}.head.2": f"{side}.conv_out",
      f"{side}.middle.0": f"{side}.mid_block.resnets.0",
      f"{side}.middle.1": f"{side}.mid_block.attentions.0",
      f"{side}.middle.2": f"{side}.mid_block.resnets.1",
    }
  names |= {
    "residual.0": "norm1",
    "residual.2": "conv1",
    "residual.3": "norm2",
    "residual.6": "conv2",
    "shortcut": "conv_shortcut",
    "encoder.downsamples": "encoder.down_blocks",
  }
  for level in range(len(config.multipliers)):
    first = level * (config.decoder_blocks + 1)
    block = f"decoder.up_blocks.{level}"
    for i in range(config.decoder_blocks):
      names[f"decoder.upsamples.{first + i}"] = f"{block}.resnets.{i}"
    up = f"decoder.upsamples.{first + config.decoder_blocks}"
    names[up] = f"{block}.upsamplers.0"
  rows = table.renamed(table_of(config).rows, names)
  return table.Table("Wan video autoencoder in the layout of diffusers", rows)
