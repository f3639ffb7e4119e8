"""The page: unpacked by other code than the browser's, and looked at in one."""

import base64
import html
import io
import json
import re
import zlib

import numpy as np
import PIL.Image
import pytest

from more4d_jax import errors
from more4d_jax import scene as scene_lib
from more4d_jax.viewing import clouds, page
from tests import browser

_FRAMES, _HEIGHT, _WIDTH = 5, 24, 32


def _scene(noise=0.0):
  """A slanted wall; a square before its middle moves to the right and back."""
  rng = np.random.default_rng(0)
  rows, columns = np.mgrid[:_HEIGHT, :_WIDTH] + 0.5
  square = (abs(rows - 12) < 6) & (abs(columns - 16) < 6)
  z = np.where(square, 2.0, 3 + columns / _WIDTH)
  first = np.stack([(columns - 16) / 28 * z, (rows - 12) / 28 * z, z], -1)
  step = 0.4 * np.sin(np.linspace(0, np.pi, _FRAMES))[:, None, None, None]
  tracks = first + step * square[..., None] * np.asarray([1, 0, -0.5])
  tracks += noise * rng.standard_normal(tracks.shape)
  colours = np.stack([6 * columns, 8 * rows, 120 + 0 * rows], -1)
  colours[square] = (40, 200, 240)
  return scene_lib.Scene(
    tracks=tracks.astype(np.float32),
    visible=np.ones(tracks.shape[:3], bool),
    colours=colours.astype(np.uint8),
    intrinsics=np.asarray([28.0, 28.0, 16.0, 12.0], np.float32),
    fps=8.0,
    metadata={"prompt": "a </script> of its own", "seed": 3, "odd": np.nan},
  )


def _element(text, name):
  found = re.search(rf'id="{name}"[^>]*>(.*?)</script>', text, re.DOTALL)
  return found.group(1)


class _Reader:
  """Unpacks the points of a page as its head describes them."""

  def __init__(self, text):
    self.layout = json.loads(_element(text, "more4d-layout"))
    packed = base64.b64decode(_element(text, "more4d-points"))
    self._bytes = np.frombuffer(zlib.decompress(packed), np.uint8)
    picture = re.search(r'src="data:image/png;base64,([^"]+)"', text).group(1)
    picture = PIL.Image.open(io.BytesIO(base64.b64decode(picture)))
    self.picture = np.asarray(picture)

  def _take(self, count):
    part, self._bytes = self._bytes[:count], self._bytes[count:]
    return part.astype(np.int64)

  def _bits(self, count):
    return np.unpackbits(self._take(-(-count // 8)).astype(np.uint8))[:count]

  def _changes(self, count):
    code = self._take(count) + 256 * self._take(count)
    change = np.where(code % 2, -(code + 1) // 2, code // 2)
    return np.cumsum(change).astype(np.int16).astype(np.int64)

  def points(self):
    """Positions [T P 3], numbers of their pixels, which moved, growth."""
    of = self.layout
    count = of["points"]
    pixels = np.flatnonzero(self._bits(of["width"] * of["height"]))
    moves = self._bits(count).astype(bool)
    growth, shift = self._take(count) / 16, self._take(count)
    self._changes(count), self._changes(count)  # Slopes.
    depth = self._changes(count) % 2**16
    depth = np.exp(of["log_near"] + of["log_step"] * depth)
    steps = np.zeros((of["frames"], count, 3))
    for axis in range(3):
      steps[:, :, axis] = self._changes(count)
    path = np.zeros((int(moves.sum()), 3))
    for t in range(1, of["frames"]):
      for axis in range(3):
        path[:, axis] += self._changes(len(path))
      steps[t, moves] += path
    assert not len(self._bytes)
    fx, fy, cx, cy = of["intrinsics"]
    rows, columns = np.divmod(pixels, of["width"])
    ray = np.stack(
      [(columns + 0.5 - cx) / fx, (rows + 0.5 - cy) / fy, np.ones(count)], -1
    )
    scale = (of["step"] * 2.0**shift)[:, None]
    return depth[:, None] * (ray + scale * steps), pixels, moves, growth


@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_unpacked_points_are_those_of_the_scene(tmp_path, noise):
  scene = _scene(noise)
  scene.tracks[2, 0, 0] = np.nan
  scene.tracks[0, 1, 1, 2] = -1.0
  cloud = page.write(tmp_path / "s.html", scene)
  reader = _Reader((tmp_path / "s.html").read_text())
  positions, pixels, moves, growth = reader.points()
  np.testing.assert_array_equal(reader.picture, scene.colours)
  expected = scene.tracks.reshape(_FRAMES, -1, 3)[:, pixels]
  assert len(pixels) == _HEIGHT * _WIDTH - 2 == len(cloud.pixels)
  # Half a step of 1/8 pixel; a resting point may be 1/4 pixel off besides.
  bound = expected[0, :, 2] / 28 / 8
  error = np.abs(positions - expected).max((0, 2))
  np.testing.assert_array_less(error[moves], 0.51 * bound[moves])
  np.testing.assert_array_less(error[~moves], 3 * bound[~moves])
  if not noise:
    assert moves.sum() == 12 * 12
  np.testing.assert_array_equal(growth, 1)


def test_a_far_flight_keeps_its_share(tmp_path):
  """16 bits hold any motion, within 2^-14 of the largest step of a point."""
  scene = _scene()
  scene.tracks[3, 5, 5] = [1e4, -2e4, 3e4]
  page.write(tmp_path / "s.html", scene)
  positions, *_ = _Reader((tmp_path / "s.html").read_text()).points()
  found = positions[:, 5 * _WIDTH + 5]
  np.testing.assert_allclose(found[3], [1e4, -2e4, 3e4], atol=3e4 / 2**14)
  others = np.arange(_HEIGHT * _WIDTH) != 5 * _WIDTH + 5
  error = positions - scene.tracks.reshape(_FRAMES, -1, 3)
  assert np.abs(error[:, others]).max() < 0.02


def test_a_page_keeps_below_its_bound(tmp_path):
  scene = _scene(0.05)
  whole = page.write(tmp_path / "all.html", scene)
  size = (tmp_path / "all.html").stat().st_size
  some = page.write(tmp_path / "s.html", scene, max_bytes=size + 2**16 - 5000)
  assert (tmp_path / "s.html").stat().st_size <= size - 5000 + 2**16
  assert len(whole.pixels) == 768 > len(some.pixels) > 300
  text = (tmp_path / "s.html").read_text()
  summary = json.loads(_element(text, "more4d-metadata"))["page"]
  assert summary["points"] == len(some.pixels)
  assert summary["points_of_scene"] == 768
  *_, growth = _Reader(text).points()
  np.testing.assert_allclose(growth, some.growth, atol=1 / 32)
  with pytest.raises(errors.UserError, match="found no point that fits"):
    page.write(tmp_path / "none.html", scene, max_bytes=1000)
  assert not (tmp_path / "none.html").exists()


def test_a_page_asks_for_nothing_and_runs_no_text_of_others(tmp_path):
  page.write(tmp_path / "s.html", _scene(), title="a <b>{points}")
  text = (tmp_path / "s.html").read_text()
  assert "<title>a &lt;b&gt;{points}</title>" in text
  assert not re.search(r"https?://", text)
  assert not re.search(r'<\w+[^>]+(src|href)="(?!data:)', text)
  metadata = json.loads(_element(text, "more4d-metadata"))
  assert metadata["prompt"] == "a </script> of its own"
  assert metadata["odd"] is None


def test_a_page_into_a_missing_folder_says_so(tmp_path):
  with pytest.raises(errors.UserError, match="no such folder"):
    page.write(tmp_path / "none" / "s.html", _scene())


def test_one_frame_and_one_point(tmp_path):
  scene = scene_lib.Scene(
    np.ones((1, 1, 1, 3), np.float32), np.ones((1, 1, 1), bool),
    np.full((1, 1, 3), 7, np.uint8), np.ones(4, np.float32), 8.0,
  )  # fmt: skip
  page.write(tmp_path / "s.html", scene)
  positions, *_ = _Reader((tmp_path / "s.html").read_text()).points()
  np.testing.assert_allclose(positions, [[[1, 1, 1]]], atol=0.07)


def test_a_notebook_shows_the_same_page(tmp_path):
  page.write(tmp_path / "s.html", _scene())
  shown = page.Inline(_scene(), height=400)._repr_html_()
  found = re.fullmatch(r'<iframe srcdoc="([^"]*)" width[^>]+></iframe>', shown)
  assert 'height="400"' in shown
  assert html.unescape(found.group(1)) == (tmp_path / "s.html").read_text()


def _shown(driver):
  """What the canvas shows, without what lies over it, [H W 3]."""
  drawn = "requestAnimationFrame(() => requestAnimationFrame(arguments[0]))"
  driver.execute_async_script(drawn)
  stage = driver.find_element("id", "view")
  picture = PIL.Image.open(io.BytesIO(stage.screenshot_as_png))
  return np.asarray(picture.convert("RGB")).astype(int)


def _ready(driver):
  return driver.execute_script(
    "return document.documentElement.dataset.state"
  ) == "ready"  # fmt: skip


def _seek(driver, frame):
  driver.execute_script(
    "const time = document.getElementById('time');"
    "time.value = arguments[0]; time.dispatchEvent(new Event('input'))",
    frame,
  )


def _differs(one, two):
  """Share of pixels that changed visibly."""
  return float((np.abs(one - two).max(-1) > 16).mean())


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
  folder = tmp_path_factory.mktemp("page")
  scene = _scene()
  page.write(folder / "s.html", scene)
  with browser.opened(folder / "profile", size=(1100, 700)) as driver:
    driver.get((folder / "s.html").as_uri())
    browser.wait(driver, _ready, "the points")
    driver.execute_script("document.getElementById('transport').hidden = true")
    yield driver


@pytest.mark.slow
def test_the_browser_shows_the_photograph_first(driver):
  _seek(driver, 0)
  shown = _shown(driver)
  height, width, _ = shown.shape
  scale = 0.94 * min(height / _HEIGHT, width / _WIDTH)
  rows, columns = np.mgrid[:_HEIGHT, :_WIDTH] + 0.5
  x = ((columns - _WIDTH / 2) * scale + width / 2).astype(int)
  y = ((rows - _HEIGHT / 2) * scale + height / 2).astype(int)
  # Every point is where its pixel is; nothing else covers its middle.
  error = np.abs(shown[y, x] - _scene().colours.astype(int))
  assert error.max() <= 1
  # No cracks between them: all that the picture spans is covered.
  inside = shown[y.min() : y.max(), x.min() : x.max()]
  background = shown[2, 2]
  assert (np.abs(inside - background).max(-1) > 8).all()
  assert not browser.errors(driver)


@pytest.mark.slow
def test_the_slider_moves_the_points(driver):
  _seek(driver, 0)
  first = _shown(driver)
  _seek(driver, 2)
  moved = _shown(driver)
  assert 0.02 < _differs(first, moved) < 0.5
  blue = [
    np.argwhere(np.abs(s - (40, 200, 240)).max(-1) < 3).mean(0)
    for s in (first, moved)
  ]
  assert blue[1][1] - blue[0][1] > 40  # To the right.
  _seek(driver, 0)
  assert _differs(first, _shown(driver)) == 0


@pytest.mark.slow
def test_playing_goes_on_and_stops(driver):
  from selenium.webdriver.common import keys

  _seek(driver, 0)
  view = driver.find_element("id", "view")
  frame = "return +document.documentElement.dataset.frame"
  view.send_keys(keys.Keys.SPACE)
  browser.wait(driver, lambda d: d.execute_script(frame) > 0.5, "a later frame")
  view.send_keys(keys.Keys.SPACE)
  _shown(driver)
  assert not driver.find_elements("css selector", ":root[data-playing]")
  view.send_keys(",")
  _shown(driver)
  assert driver.execute_script(frame) % 1 == 0


@pytest.mark.slow
def test_mouse_and_keys_turn_the_camera_and_it_comes_back(driver):
  from selenium.webdriver import ActionChains
  from selenium.webdriver.common import keys

  _seek(driver, 0)
  view = driver.find_element("id", "view")
  first = _shown(driver)
  acts = (
    lambda to: to.click_and_hold(view).move_by_offset(60, 20).release(),
    lambda to: to.key_down(keys.Keys.SHIFT)
    .click_and_hold(view)
    .move_by_offset(40, 0)
    .release()
    .key_up(keys.Keys.SHIFT),
    lambda to: to.send_keys_to_element(view, keys.Keys.ARROW_LEFT),
    lambda to: to.send_keys_to_element(view, "+"),
  )
  for act in acts:
    act(ActionChains(driver, duration=50)).perform()
    assert _differs(first, _shown(driver)) > 0.01
    view.send_keys("r")
    assert _differs(first, _shown(driver)) == 0


@pytest.mark.slow
def test_backgrounds_and_panel(driver):
  corners = []
  for name in ("dark", "light"):
    driver.find_element("id", name).click()
    corners.append(_shown(driver)[2, 2].mean())
  assert corners[0] < 60 and corners[1] > 190
  text = driver.find_element("id", "panel").text
  assert "a </script> of its own" in text
  assert "768" in text and "5 at 8 per second" in text
  photograph = driver.find_element("id", "photograph")
  assert photograph.get_property("naturalWidth") == _WIDTH
  driver.find_element("id", "view").send_keys("h")
  assert not driver.find_element("id", "panel").is_displayed()
  driver.find_element("id", "view").send_keys("h")
  assert not browser.errors(driver)


@pytest.mark.slow
def test_a_damaged_page_says_so(tmp_path):
  page.write(tmp_path / "s.html", _scene())
  text = (tmp_path / "s.html").read_text()
  points = _element(text, "more4d-points")
  (tmp_path / "s.html").write_text(
    text.replace(points, points[: -len(points) // 2])
  )
  with browser.opened(tmp_path / "profile") as driver:
    driver.get((tmp_path / "s.html").as_uri())
    browser.wait(driver, lambda d: not d.find_elements(
      "css selector", ":root[data-state=loading]"), "an end of loading"
    )  # fmt: skip
    message = driver.find_element("id", "message").text
    assert "The points cannot be shown" in message


def test_thinning_keeps_edges_and_even_distances():
  scene = _scene()
  cloud = clouds.from_scene(scene)
  thin = clouds.thinned(cloud, 400)
  assert len(thin.pixels) == 400
  rows, columns = np.divmod(thin.pixels, _WIDTH)
  edge = (abs(abs(rows + 0.5 - 12) - 6) < 1) & (abs(columns + 0.5 - 16) < 6)
  grid = np.zeros((_HEIGHT, _WIDTH), bool)
  grid[rows, columns] = True
  flat = np.zeros_like(grid)
  flat[:, :8] = True
  assert edge.sum() == 2 * 2 * 12  # All of them.
  share = grid[flat].mean()
  assert 0.3 < share < 0.65
  # Points that stay on even surfaces cover for those that went.
  grown = (thin.growth**2).reshape(-1)[columns < 8].sum() / flat.sum()
  assert grown == pytest.approx(1, abs=0.1)
  # No row or column of the even part is empty.
  assert grid[:, :8].any(0).all() and grid[:, :8].any(1).all()
