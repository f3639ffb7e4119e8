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
  found = jobs.find_jobs(
    image, jobs.Words(" it purrs ", "blur"), pathlib.Path("d.npy")
  )
  depth = pathlib.Path("d.npy")
  assert found == (jobs.Job("cat", image, "it purrs", depth, "blur"),)


def test_a_folder_in_order_with_depths(tmp_path):
  folder = _touch(tmp_path / "in", "b.jpg", "a.PNG", "notes.txt")
  depths = _touch(tmp_path / "depth", "a.npy", "b.png")
  found = jobs.find_jobs(folder, jobs.Words("go"), depths)
  assert [job.name for job in found] == ["a", "b"]
  assert [job.depth.name for job in found] == ["a.npy", "b.png"]


def test_a_manifest(tmp_path):
  lines = [
    {"image": "x/a.png", "prompt": "one"},
    {"image": "b.png", "depth": "b.npy"},
    {"image": "c.png", "prompt": "", "negative_prompt": "dark"},
  ]
  path = tmp_path / "list.jsonl"
  path.write_text("\n\n".join(map(json.dumps, lines)))
  found = jobs.find_jobs(path, jobs.Words("all others", "blur"), None)
  assert found[0] == jobs.Job(
    "a", tmp_path / "x/a.png", "one", negative_prompt="blur"
  )
  assert found[1].prompt == "all others"
  assert found[1].depth == tmp_path / "b.npy"
  assert (found[2].prompt, found[2].negative_prompt) == ("", "dark")


def test_a_manifest_written_on_windows(tmp_path):
  path = tmp_path / "liste.jsonl"
  line = {"image": "Bild, schön: 1=2.png", "prompt": "ein Ball rollt"}
  text = json.dumps(line, ensure_ascii=False)
  path.write_bytes(f"{text}\r\n\r\n".encode("utf-8-sig"))
  (found,) = jobs.find_jobs(path, jobs.Words(), None)
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
    ('{"image": "a.png", "prompt": "p", "negative_prompt": 3}', "another type"),
    ('{"image": "a.partial.png", "prompt": "p"}', "rename it"),
    ('{"image": "a.png", "prompt": "p"}\n' * 2, "twice"),
  ],
)
def test_bad_manifests(tmp_path, text, words):
  path = tmp_path / "list.jsonl"
  path.write_text(text)
  with pytest.raises(errors.UserError, match=words) as caught:
    jobs.find_jobs(path, jobs.Words(), None)
  assert "\n" not in str(caught.value)


def test_samples_have_names_and_seeds_of_their_own():
  cat, dog = (
    jobs.Job(n, pathlib.Path(f"{n}.png"), "p") for n in ("cat", "dog")
  )
  (only,) = jobs.drawn([cat], 7, 1)
  assert (only.name, only.seed) == ("cat", 7)
  four = jobs.drawn([cat, dog], 7, 2)
  assert [job.name for job in four] == [
    "cat_sample_0", "cat_sample_1", "dog_sample_0", "dog_sample_1",
  ]  # fmt: skip
  assert [job.image.name for job in four] == ["cat.png"] * 2 + ["dog.png"] * 2
  # One more sample changes none of the others.
  more = jobs.drawn([cat], 7, 3)
  assert more[:2] == four[:2] and more[0].seed == 7
  assert len({job.seed for job in more}) == 3
  assert all(0 <= job.seed < 2**63 for job in more)


def test_samples_that_cannot_be_meant():
  cat = jobs.Job("cat", pathlib.Path("cat.png"), "p")
  for count in (0, -1, 1001):
    with pytest.raises(errors.UserError, match="--samples of 1 to 1000"):
      jobs.drawn([cat], 0, count)
  for seed in (-1, 2**63):
    with pytest.raises(errors.UserError, match="seed of 0 to"):
      jobs.drawn([cat], seed, 2)


def test_bad_folders(tmp_path):
  empty = _touch(tmp_path / "empty")
  with pytest.raises(errors.UserError, match="found none"):
    jobs.find_jobs(empty, jobs.Words("p"), None)
  folder = _touch(tmp_path / "in", "a.png")
  with pytest.raises(errors.UserError, match="folder of depth"):
    jobs.find_jobs(folder, jobs.Words("p"), folder / "a.png")
  with pytest.raises(errors.UserError, match="one depth file"):
    jobs.find_jobs(folder, jobs.Words("p"), empty)
  twins = _touch(tmp_path / "twins", "a.png", "a.jpg")
  with pytest.raises(errors.UserError, match="twice"):
    jobs.find_jobs(twins, jobs.Words("p"), None)
  with pytest.raises(errors.UserError, match="no such file"):
    jobs.find_jobs(tmp_path / "gone.png", jobs.Words("p"), None)
