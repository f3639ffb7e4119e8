"""The script for a GPU runs at reduced size, and survives a part that fails."""

import json

import pytest

from benchmarks.device import run


@pytest.mark.slow
def test_every_part_runs_at_reduced_size(tmp_path):
  parts = list(run.PARTS)
  status = run.main(
    ["--reduced", "--out", str(tmp_path), "--parts", ",".join(parts)]
  )
  assert status == 0
  lines = [
    json.loads(line)
    for line in (tmp_path / "results.jsonl").read_text().splitlines()
  ]
  assert {line["part"] for line in lines} == set(parts)
  assert "## machine" in (tmp_path / "results.md").read_text()


def test_a_part_that_fails_or_hangs_is_reported(tmp_path, monkeypatch):
  monkeypatch.setitem(run.PARTS, "missing", 60)
  status = run.main(["--out", str(tmp_path), "--parts", "missing,machine"])
  assert status == 1
  lines = (tmp_path / "results.jsonl").read_text()
  assert "No module named" in lines and '"part": "machine"' in lines
  (line, _) = run.run_part("machine", 0.01, [])
  assert line["failed"] == "stopped after 0 s"


def test_the_limits_fit_into_nine_minutes():
  assert sum(run.PARTS.values()) <= 9 * 60


def test_an_unknown_part_is_refused(capsys):
  with pytest.raises(SystemExit):
    run.main(["--parts", "kitchen"])
  assert "choose of machine,correctness" in capsys.readouterr().err
