"""Published archives in their exact layout; hostile and broken ones."""

import gzip
import io
import pathlib
import pickle
import tarfile

import numpy as np
import pytest

from data_pipelines.importers import ray_grid, run, scene
from more4d_jax.data import records
from more4d_jax.data.codec import array_codec
from tests.data_pipelines.importers import geometry_test

GRID = (6, 8)
SCALE = 5  # Source pixels for each of the grid's.
BOUND = 5e-4  # Of the first depth: what the codec may change.
FIXTURE = pathlib.Path(__file__).parent / "tensors.pkl"


def scene_arrays(frames=9, grid=GRID, seed=0):
  """What DELTA's output holds: z K^-1 (u, v, 1), focal = source width."""
  rng = np.random.default_rng(seed)
  height, width = grid
  source = (height * SCALE, width * SCALE)
  rows, columns = np.mgrid[:height, :width] * float(SCALE)
  focal, cx, cy = source[1], source[1] // 2, source[0] // 2
  drift = rng.uniform(-2, 2, (2, height, width))
  depth = 2 + rng.random((height, width))
  coords, inside = [], []
  for t in range(frames):
    u, v = columns + t * drift[0] * (t > 0), rows + t * drift[1] * (t > 0)
    z = depth * (1 + 0.01 * t)
    across, down = u / SCALE + 0.5, v / SCALE + 0.5
    seen = (across >= 0) & (across <= width) & (down >= 0) & (down <= height)
    inside.append(seen.ravel())
    coords.append(np.stack([(u - cx) / focal * z, (v - cy) / focal * z, z], -1))
  colours = rng.integers(0, 255, (height * width, 3))
  return {
    "coords": np.stack(coords).reshape(frames, -1, 3).astype(np.float32),
    "colors": colours.astype(np.float32),
    "vis": (rng.random((frames, height * width)) > 0.3) & np.stack(inside),
  }


def film(arrays, frames=None, grid=GRID):
  """The video whose first frame has the tracked colours."""
  picture = arrays["colors"].reshape(*grid, 3).astype(np.uint8)
  shown = picture.repeat(SCALE, 0).repeat(SCALE, 1)
  return array_codec.encode_video(
    np.repeat(shown[None], frames or len(arrays["coords"]), 0), 24.0
  )


def members(name, arrays, *, caption="a dog runs", frames=None, dumped=None):
  """Name -> bytes of one scene, in the published order and names."""
  folder = f"000001_000050/{name}"
  batched = {key: value[None] for key, value in arrays.items()}
  made = {
    f"{folder}.mp4": film(arrays, frames),
    f"{folder}.txt": caption and caption.encode(),
    f"{folder}_dt3d_pred.pkl": dumped or pickle.dumps(batched),
    f"{folder}_dt3d_render.mp4": b"left alone",
    f"{folder}_mask_render.mp4": b"left alone",
    f"{folder}_mask_render_binary.npy": b"left alone",
  }
  return {key: value for key, value in made.items() if value is not None}


def archive(path, content, more=()):
  path.parent.mkdir(exist_ok=True)
  with tarfile.open(path, "w:gz") as tar:
    folder = tarfile.TarInfo("000001_000050/")
    folder.type = tarfile.DIRTYPE
    tar.addfile(folder)
    for name, data in content.items():
      info = tarfile.TarInfo(name)
      info.size = len(data)
      tar.addfile(info, io.BytesIO(data))
    for info in more:
      tar.addfile(info)
  return path


def imported(path, **settings):
  return geometry_test.imported(
    "trajscene",
    path.parent,
    settings=scene.Settings(**settings),
    encode=records.REAL,
  )


def check(record, arrays, grid=GRID):
  frames = len(record.tracks)
  assert record.tracks.shape == (frames, *grid, 3)
  wanted = arrays["coords"][:frames].reshape(record.tracks.shape)
  bound = BOUND * wanted[0, :, :, 2:] + 1e-6  # And float32's rounding.
  assert (np.abs(record.tracks - wanted) <= bound).all()
  visible = arrays["vis"][:frames].reshape(frames, *grid)
  np.testing.assert_array_equal(record.visible, visible)
  pixels = geometry_test.reprojected(
    record, record.tracks.reshape(frames, -1, 3)
  )
  rows, columns = np.mgrid[: grid[0], : grid[1]] + 0.5
  asked = np.stack([columns.ravel(), rows.ravel()], -1)
  assert np.abs(pixels[0] - asked).max() < 1e-3
  # DELTA's own pixels: u = f x / z + W // 2 in the source's picture.
  height, width = grid[0] * SCALE, grid[1] * SCALE
  own = wanted[..., :2] / wanted[..., 2:] * width + [width // 2, height // 2]
  back = own.reshape(frames, -1, 2) / SCALE + 0.5
  # The codec's bound, seen at a focal length of the width.
  assert np.abs(pixels - back).max() < 2e-3 + 2 * BOUND * grid[1]


def test_archives_in_the_published_layout(tmp_path):
  scenes = {f"{n:06d}": scene_arrays(seed=n) for n in (1, 2)}
  content = {}
  for name, arrays in scenes.items():
    content |= members(name, arrays)
  path = archive(tmp_path / "source" / "000001_000050.tar.gz", content)
  found, report = imported(path)
  assert (report.found, report.taken, report.mended) == (2, 2, 0)
  for record, (name, arrays) in zip(found, scenes.items()):
    check(record, arrays)
    assert record.id == f"trajscene-000001_000050-{name}"
    assert record.caption == "a dog runs"
    assert record.tracks_frame == "each_camera"
    assert record.source_size.tolist() == [GRID[0] * SCALE, GRID[1] * SCALE]
    assert "WebVid" in record.licence


def test_torch_tensors(tmp_path):
  torch = pytest.importorskip("torch", reason="writes the published pickles")
  arrays = scene_arrays(seed=5)
  tensors = {k: torch.from_numpy(v)[None] for k, v in arrays.items()}
  dumped = pickle.dumps(tensors)
  content = members("000005", arrays, dumped=dumped)
  path = archive(tmp_path / "source" / "a.tar.gz", content)
  [record], report = imported(path)
  assert report.taken == 1
  check(record, arrays)


def test_torch_tensors_without_torch(tmp_path):
  """The fixture is what the test above pickles, for seed 6."""
  arrays = scene_arrays(seed=6)
  content = members("000006", arrays, dumped=FIXTURE.read_bytes())
  path = archive(tmp_path / "source" / "a.tar.gz", content)
  [record], _ = imported(path)
  check(record, arrays)


@pytest.mark.parametrize(
  "grid", [(336, 596), (384, 512), (512, 384), (368, 512), (7, 5)]
)
def test_the_grid_is_read_from_the_file(grid):
  first = scene_arrays(1, grid)["coords"][0]
  found, intrinsics = ray_grid.find(first)
  assert found == grid
  height, width = grid[0] * SCALE, grid[1] * SCALE
  wanted = np.array([width, width, width // 2, height // 2]) / SCALE
  wanted[2:] += 0.5
  np.testing.assert_allclose(intrinsics, wanted, rtol=1e-4)
  holes = first.copy()
  holes[::3] = [0, 0, 0]
  holes[1::7] = np.nan
  assert ray_grid.find(holes)[0] == grid
  with pytest.raises(scene.Refused, match="no grid of pixels"):
    ray_grid.find(np.random.default_rng(0).permutation(first))


class Hostile:
  def __init__(self, path):
    self.path = path

  def __reduce__(self):
    return pathlib.Path.touch, (self.path,)


def test_bad_scenes_do_not_hurt_the_others(tmp_path):
  trace = tmp_path / "executed"
  long = scene_arrays(frames=49, seed=3)
  good, evil = scene_arrays(seed=1), scene_arrays(seed=2)
  content = {
    **members("000001", good),
    **members("000002", evil, dumped=pickle.dumps(Hostile(trace))),
    **members("000003", long, frames=48),
    **members("000004", good, caption=None),
    **members("000005", good, dumped=b"\x80\x04no pickle"),
    **members("000006", good, dumped=pickle.dumps({"coords": np.ones(3)})),
    "../../outside.mp4": b"x",
    "/absolute/outside.txt": b"x",
    "000001_000050/000007.mp4": bytes(3 << 20),
    **members("000008", good),
    **members("000009", {**good, "colors": 255 - good["colors"]}),
  }
  content["000001_000050/000009.mp4"] = film(good)
  link = tarfile.TarInfo("000001_000050/000010.mp4")
  link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
  path = archive(tmp_path / "source" / "r.tar.gz", content, [link])
  found, report = imported(path, max_member_bytes=1 << 20)
  assert not trace.exists()
  assert not list(tmp_path.rglob("*outside*"))
  ids = [record.id.removeprefix("trajscene-r-") for record in found]
  assert ids == ["000001", "000003", "000008", "000004"]
  check(found[0], good)
  assert found[1].shape[0] == 45
  check(found[1], long)
  assert found[3].caption == ""
  notes = {s["name"].removeprefix("r-"): s["notes"] for s in report.scenes}
  for name, words in {
    "000002": "could run any program",
    "000003": "48 of the tracks' 49 frames",
    "000004": "no caption",
    "000005": "damaged or no pickle",
    "000006": "has no colors, vis",
    "../../outside.mp4": "none of a scene's files",
    "/absolute/outside.txt": "none of a scene's files",
    "000007": "claims 3145728 bytes, more than the limit",
    "000009": "another video",
    "000010": "no regular file",
  }.items():
    assert words in " ".join(notes[name]), name
  assert report.found == 13 - 1
  assert report.taken == 4
  assert report.mended == 2
  assert "could run any program" in report.as_text()


def test_truncated_archives_give_what_was_whole(tmp_path):
  content = members("000001", scene_arrays(seed=1))
  content |= members("000002", scene_arrays(seed=2))
  path = archive(tmp_path / "source" / "r.tar.gz", content)
  whole = gzip.decompress(path.read_bytes())
  cut = whole.index(b"000001_000050/000002_dt3d_pred.pkl") + 700
  path.write_bytes(gzip.compress(whole[:cut]))
  [record], report = imported(path)
  check(record, scene_arrays(seed=1))
  assert any("cut off" in reason for reason in report.refused)
  assert any("holds no tracks of it" in reason for reason in report.refused)


def test_a_gzip_stream_that_breaks(tmp_path):
  content = members("000001", scene_arrays(seed=1))
  noise = np.random.default_rng(0).bytes(200_000)
  content["000001_000050/000002.mp4"] = noise
  path = archive(tmp_path / "source" / "r.tar.gz", content)
  path.write_bytes(path.read_bytes()[:-100_000])
  found, report = imported(path)
  assert len(found) == 1
  assert any("cut off" in reason for reason in report.refused)


def test_bombs_are_bounded(tmp_path):
  """Ten megabytes of zeros in ten kilobytes; a header that claims 1 GB."""
  header = tarfile.TarInfo("x")
  header.type, header.size = tarfile.XHDTYPE, 1 << 30
  good = members("000001", scene_arrays(seed=1))
  path = archive(
    tmp_path / "source" / "r.tar.gz",
    {**good, "000001_000050/000002.mp4": bytes(10 << 20)},
    [header],
  )
  found, report = imported(path, max_archive_bytes=5 << 20)
  assert len(found) == 1
  assert any("claim more than" in reason for reason in report.refused)
  _, report = geometry_test.imported(
    "trajscene", _copy(path, tmp_path / "again")
  )
  assert any("extended header claims" in reason for reason in report.refused)


def _copy(path, folder):
  (folder / "source").mkdir(parents=True)
  (folder / "source" / path.name).write_bytes(path.read_bytes())
  return folder / "source"


def test_nothing_taken_is_an_error(tmp_path):
  path = tmp_path / "source" / "r.tar.gz"
  path.parent.mkdir()
  path.write_bytes(b"no archive at all")
  options = run.ImportOptions(
    "trajscene",
    (str(path),),
    str(tmp_path / "out"),
    processes=1,
    progress=False,
  )
  with pytest.raises(ValueError, match=r"none of the 1 scenes .*damaged"):
    run.import_records(options)
