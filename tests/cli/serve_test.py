"""`more4d serve`, as a person in a browser uses it."""

import pathlib
import urllib.request

import numpy as np
import PIL.Image
import pytest

from more4d_jax import errors, pipeline
from more4d_jax import scene as scene_lib
from more4d_jax.checkpoints import store
from more4d_jax.cli import main, serve_jobs
from more4d_jax.viewing import video
from tests import browser

pytestmark = pytest.mark.slow
_MAX_BYTES = 500_000


@pytest.fixture(scope="module")
def workshop(nano_checkpoint, tmp_path_factory):
  folder = tmp_path_factory.mktemp("workshop")
  return serve_jobs.Workshop(
    lambda options: pipeline.load(nano_checkpoint, options=options),
    folder,
    "model",
    32_000_000,
  )


@pytest.fixture
def photo(tmp_path):
  rows, columns = np.mgrid[:60, :80]
  pixels = np.stack([3 * columns, 4 * rows, 100 + 0 * rows], -1)
  PIL.Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "photo.png")
  return tmp_path / "photo.png"


def test_a_path_is_filmed_before_anything_moves(workshop, photo):
  prepared = workshop.prepare(str(photo))
  depth = workshop.depth_preview(prepared)
  assert depth.shape == prepared.image.shape
  frames, fps = video.read_video(workshop.path_preview(prepared, "static"))
  assert (len(frames), fps) == (5, 8.0)
  # The camera stands, nothing moves: every frame is the picture.
  factor = frames.shape[1] // prepared.image.shape[0]
  shown = frames[:, factor // 2 :: factor, factor // 2 :: factor].astype(int)
  assert np.abs(shown - prepared.image).mean() < 8  # Lossy, chroma halved.
  moving, _ = video.read_video(workshop.path_preview(prepared, "x_moving"))
  assert np.abs(moving[0].astype(int) - moving[2]).mean() > 2


def test_examples_differ_and_say_what_moves(workshop):
  (one, says), (two, _) = workshop.example(), workshop.example()
  pictures = [np.asarray(PIL.Image.open(path)) for path in (one, two)]
  assert pictures[0].shape == (288, 384, 3)
  assert (pictures[0] != pictures[1]).any()
  assert len(says.split()) > 3


@pytest.mark.parametrize(
  ("flags", "words"),
  [
    (("--port", "0"), "between 1 and 65535"),
    (("--max-megapixels", "0"), "positive --max-megabytes"),
    ((), "expected a bundle in"),
  ],
)
def test_mistakes_are_one_line(tmp_path, capsys, flags, words):
  checkpoint = ("--checkpoint", str(tmp_path / "none"))
  assert main.main(["serve", *checkpoint, *flags]) == 2
  (line,) = capsys.readouterr().err.strip().splitlines()
  assert words in line


def test_a_checkpoint_without_depth_is_refused(nano_checkpoint, tmp_path):
  found = store.open_bundle(nano_checkpoint)
  del found["depth"]
  with pytest.raises(errors.UserError, match="depth"):
    serve_jobs.Workshop(lambda _: pipeline.Pipeline(found), tmp_path)


def test_a_job_says_how_far_it_is(workshop, photo):
  prepared, heard = workshop.prepare(str(photo)), []
  made = workshop.make(
    prepared, "it turns", ["static"], 3, lambda *now: heard.append(now)
  )
  said = list(made)
  assert [now.words for now in said][-2:] == ["Filming static", "Done"]
  assert [now.done for now in said] == sorted(now.done for now in said)
  assert any(done == total for _, done, total in heard)
  assert len(said[-1].films) == 1 and len(said[-1].files) == 3


@pytest.fixture(scope="module")
def address(workshop, tmp_path_factory):
  pytest.importorskip("gradio")
  from more4d_jax.cli import serve_page

  monkeypatch = pytest.MonkeyPatch()
  monkeypatch.setenv("GRADIO_TEMP_DIR", str(workshop.folder / "gradio"))
  page = serve_page.build(workshop)
  serve_page.launch(page, workshop, "127.0.0.1", None, _MAX_BYTES)
  yield page.local_url
  page.close(verbose=False)
  monkeypatch.undo()


@pytest.fixture(scope="module")
def driver(address, tmp_path_factory):
  with browser.opened(tmp_path_factory.mktemp("profile")) as driver:
    yield driver


def _open(driver, address):
  driver.get(address)
  find = "#image input[type=file]"
  browser.wait(driver, lambda d: d.find_element("css selector", find), "a page")


def _upload(driver, path):
  find = "#image input[type=file]"
  driver.find_element("css selector", find).send_keys(str(path))


def _looked_at(driver):
  """Waits for depth and path of the picture that was chosen."""
  for what in ("#depth img", "#path video"):
    browser.wait(
      driver,
      lambda d, what=what: d.find_element("css selector", what).is_displayed(),
      what,
    )


def _says(driver, words):
  browser.wait(
    driver,
    lambda d: words in d.find_element("css selector", "body").text,
    repr(words),
  )


def test_a_picture_becomes_a_scene(driver, address, photo, workshop):
  _open(driver, address)
  _upload(driver, photo)
  _looked_at(driver)
  driver.find_element("css selector", "#prompt textarea").send_keys("it turns")
  before = set(workshop.folder.iterdir())
  button = driver.find_element("id", "make")
  button.click()
  button.click()  # Does nothing more.
  _says(driver, "Done")
  made = set(workshop.folder.iterdir()) - before
  assert len(made) == 1
  frame = driver.find_element("css selector", "#scene iframe")
  driver.switch_to.frame(frame)
  state = "return document.documentElement.dataset"
  browser.wait(
    driver,
    lambda d: d.execute_script(state)["state"] == "ready",
    "the scene's page",
  )
  assert "it turns" in driver.find_element("id", "prompt").text
  driver.find_element("id", "view").send_keys(" ")
  browser.wait(
    driver, lambda d: float(d.execute_script(state)["frame"]) > 0, "motion"
  )
  driver.switch_to.default_content()
  browser.wait(
    driver,
    lambda d: len(d.find_elements("css selector", "#files a[href]")) >= 3,
    "files",
  )
  links = driver.find_elements("css selector", "#files a[href]")
  found = {
    pathlib.PurePosixPath(link.get_attribute("href")).name: link.get_attribute(
      "href"
    )
    for link in links
  }
  assert set(found) == {"scene.npz", "scene.html", "circular.mp4"}
  for name, link in found.items():
    with urllib.request.urlopen(link) as got:
      (photo.parent / name).write_bytes(got.read())
  scene = scene_lib.Scene.load(photo.parent / "scene.npz")
  assert scene.metadata["prompt"] == "it turns"
  frames, _ = video.read_video(photo.parent / "circular.mp4")
  assert len(frames) == scene.num_frames == 5
  assert not browser.errors(driver)


@pytest.mark.parametrize("kind", ["text", "large", "heavy"])
def test_what_is_no_picture_is_said(driver, address, tmp_path, kind):
  path = tmp_path / "p.png"
  if kind == "text":
    path.write_text("not a picture")
    words = "expected a picture in"
  elif kind == "large":
    PIL.Image.new("L", (8000, 5000)).save(path)
    words = "at most 32 megapixels, found 40.0 (8000 x 5000) in p.png"
  else:
    noise = np.random.default_rng(0).integers(0, 256, (500, 500, 3), np.uint8)
    PIL.Image.fromarray(noise).save(path)
    assert path.stat().st_size > _MAX_BYTES
    words = "exceed the maximum allowed size"
  _open(driver, address)
  _upload(driver, path)
  _says(driver, words)
  driver.get("about:blank")
  browser.errors(driver)  # The browser itself reports what was refused.


def test_without_a_picture_the_page_asks_for_one(driver, address):
  _open(driver, address)
  driver.find_element("id", "make").click()
  _says(driver, "Choose a picture first")


def test_a_closed_tab_leaves_the_server_working(driver, address, photo):
  _open(driver, address)
  _upload(driver, photo)
  _looked_at(driver)
  driver.find_element("id", "make").click()
  driver.get("about:blank")
  _open(driver, address)
  driver.find_element("id", "example").click()
  _looked_at(driver)
  driver.find_element("id", "make").click()
  _says(driver, "Done")
