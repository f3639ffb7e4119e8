"""A finished training on one page."""

import json

from PIL import Image

from more4d_jax.experiment import run_report


def _lines(path, lines):
  path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_the_page_has_figures_and_curves(tmp_path):
  steps = range(1, 201)
  _lines(
    tmp_path / "metrics.jsonl",
    [
      {
        "step": step,
        "loss": 2.0 / step,
        "gradient_norm": 1.0,
        "gradient_norm/dit/blocks": 0.5,
        "loss_at_noise/0.25": None if step % 2 else 0.25,
        "seconds": 0.5,
        "skipped": 3.0,
        "samples_per_second_and_device": 4.0,
      }
      for step in steps
    ],
  )
  _lines(
    tmp_path / "evaluation.jsonl",
    [{"step": 200, "loss": 0.125, "end_point_error": 0.5}],
  )
  text = run_report.write(tmp_path, "strag tiny").read_text()
  assert text.startswith("# strag tiny\n")
  assert "200 steps in 0.03 hours; 3 skipped" in text
  assert "| end_point_error | 0.5 |" in text
  assert "| samples a second and device | 4 |" in text
  noise = run_report.read(tmp_path / "metrics.jsonl")["loss_at_noise/0.25"]
  assert len(noise[0]) == 100 and noise[0][0] == 2
  for name in ("loss", "noise", "gradients", "speed"):
    picture = tmp_path / f"report_{name}.png"
    assert f"({picture.name})" in text
    with Image.open(picture) as image:
      assert image.size == (880, 440)
