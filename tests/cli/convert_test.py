"""The subcommand: a bundle and its way back, and mistakes in one line."""

import json

from more4d_jax.cli import main
from tests.published import released


def test_there_and_back(tmp_path, capsys):
  path = tmp_path / "in" / "a.safetensors"
  released.write_safetensors(path, released.inpaint())
  (tmp_path / "in" / "config.json").write_text(json.dumps(released.CONFIG))
  there = ["convert", "--from", str(path), "--to", str(tmp_path / "k")]
  assert main.main(there) == 0
  out = capsys.readouterr().out
  size = sum(
    path.stat().st_size
    for path in (tmp_path / "k" / "vism_transformer").rglob("*")
    if path.is_file()
  )
  assert f"converted vism_transformer ({size / 1e9:.3g} GB)" in out
  assert "vism still needs image_encoder, text_encoder" in out
  part = str(tmp_path / "k" / "vism_transformer")
  back = ["convert", "--reverse", "--from", part, "--to", str(tmp_path / "b")]
  assert main.main(back) == 0
  count = len(released.inpaint())
  assert f"{count} tensors" in capsys.readouterr().out


def test_mistakes_are_one_line(tmp_path, capsys):
  command = ["convert", "--from", str(tmp_path / "no"), "--to", str(tmp_path)]
  assert main.main(command) == 2
  error = capsys.readouterr().err
  assert error.startswith("error: expected a file or folder of weights")
  assert error.count("\n") == 1
