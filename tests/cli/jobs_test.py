"""What --image may name."""

import json
import pathlib

import pytest

from more4d_jax import errors
from more4d_jax.cli import jobs


def _touch(folder, *names):
  folder.mkdir(exist_ok=True)
  for name in names:
    (folder / name).write_bytes(b"")
  return folder


def test_one_picture(tmp_path):
  image = _touch(tmp_path, "cat.png") / "cat.png"
  found = jobs.find_jobs(image, "it purrs", pathlib.Path("d.npy"))
  assert found == (jobs.Job("cat", image, "it purrs", pathlib.Path("d.npy")),)


def test_a_folder_in_order_with_depths(tmp_path):
  folder = _touch(tmp_path / "in", "b.jpg", "a.PNG", "notes.txt")
  depths = _touch(tmp_path / "depth", "a.npy", "b.png")
  found = jobs.find_jobs(folder, "go", depths)
  assert [job.name for job in found] == ["a", "b"]
  assert [job.depth.name for job in found] == ["a.npy", "b.png"]


def test_a_manifest(tmp_path):
  lines = [
    {"image": "x/a.png", "prompt": "one"},
    {"image": "b.png", "depth": "b.npy"},
  ]
  path = tmp_path / "list.jsonl"
  path.write_text("\n\n".join(map(json.dumps, lines)))
  found = jobs.find_jobs(path, "all others", None)
  assert found[0] == jobs.Job("a", tmp_path / "x/a.png", "one")
  assert found[1].prompt == "all others"
  assert found[1].depth == tmp_path / "b.npy"


def test_a_manifest_written_on_windows(tmp_path):
  path = tmp_path / "liste.jsonl"
  line = {"image": "Bild, schön: 1=2.png", "prompt": "ein Ball rollt"}
  text = json.dumps(line, ensure_ascii=False)
  path.write_bytes(f"{text}\r\n\r\n".encode("utf-8-sig"))
  (found,) = jobs.find_jobs(path, None, None)
  assert found.image == tmp_path / line["image"]
  assert (found.name, found.prompt) == ("Bild, schön: 1=2", line["prompt"])


@pytest.mark.parametrize(
  ("text", "words"),
  [
    ("", "found none"),
    ("words", "line 1"),
    ("\n[1]", "line 2"),
    ('{"image": "a.png"}', "--prompt"),
    ('{"image": "a.png", "prompt": "p", "seed": 3}', "seed"),
    ('{"image": "a.png", "prompt": 3}', "another type"),
    ('{"image": "a.png", "prompt": "p"}\n' * 2, "twice"),
  ],
)
def test_bad_manifests(tmp_path, text, words):
  path = tmp_path / "list.jsonl"
  path.write_text(text)
  with pytest.raises(errors.UserError, match=words) as caught:
    jobs.find_jobs(path, None, None)
  assert "\n" not in str(caught.value)


def test_bad_folders(tmp_path):
  empty = _touch(tmp_path / "empty")
  with pytest.raises(errors.UserError, match="found none"):
    jobs.find_jobs(empty, "p", None)
  folder = _touch(tmp_path / "in", "a.png")
  with pytest.raises(errors.UserError, match="folder of depth"):
    jobs.find_jobs(folder, "p", folder / "a.png")
  with pytest.raises(errors.UserError, match="one depth file"):
    jobs.find_jobs(folder, "p", empty)
  twins = _touch(tmp_path / "twins", "a.png", "a.jpg")
  with pytest.raises(errors.UserError, match="twice"):
    jobs.find_jobs(twins, "p", None)
  with pytest.raises(errors.UserError, match="no such file"):
    jobs.find_jobs(tmp_path / "gone.png", "p", None)
