"""`more4d doctor` and `more4d bundle`."""

import json

import jax

from more4d_jax.checkpoints import store
from more4d_jax.cli import doctor, main


def test_doctor_names_devices_and_attention(capsys):
  assert main.main(["doctor"]) == 0
  out = capsys.readouterr().out
  assert jax.__version__ in out and f"{jax.device_count()} x" in out
  assert "at size 14b (10304 tokens)" in out


def test_doctor_says_what_is_missing(capsys, monkeypatch):
  missing = ("nowhere", "nowhere-dist", "flying", "pip install wings")
  monkeypatch.setattr(doctor, "_LIBRARIES", (missing,))
  doctor.doctor()
  out = capsys.readouterr().out
  assert "nowhere-dist, for flying: pip install wings" in out


def test_bundle_names_its_networks(nano_checkpoint, tmp_path, capsys):
  root = nano_checkpoint.parent
  workdirs = ",".join(str(root / kind) for kind in ("depth", "vism"))
  out = tmp_path / "bundle"
  assert main.main(["bundle", "--workdir", workdirs, "--out", str(out)]) == 0
  named = json.loads((out / "model.json").read_text())["networks"]
  assert set(named) == {"depth", "vism"}
  assert store.load_header(out / "vism")["kind"] == "vism"
  status = main.main(["bundle", "--workdir", str(tmp_path), "--out", str(out)])
  assert status == 2 and capsys.readouterr().err.startswith("error: ")
  assert main.main(["bundle", "--workdir", ",", "--out", str(out)]) == 2
