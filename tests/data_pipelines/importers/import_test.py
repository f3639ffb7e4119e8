"""The import as a whole: resumed, refused, reported, by the command line."""

import json
import os
import pickle
import zipfile

import numpy as np
import pytest

from data_pipelines.importers import kinds, media, run, scene, source_files
from data_pipelines.trajscene import shards
from data_pipelines.trajscene import validate as validating
from more4d_jax import errors
from more4d_jax.cli import main
from more4d_jax.data import record_directory
from tests.data_pipelines.importers import (
  geometry_test,
  layouts,
  trajscene_test,
  worlds,
)


def files(directory):
  return {
    str(path.relative_to(directory)): path.read_bytes()
    for path in directory.rglob("*")
    if path.is_file()
  }


def options(folder, out, **more):
  return run.ImportOptions(
    kind="trajscene",
    sources=(str(folder),),
    out=str(out),
    processes=1,
    progress=False,
    **more,
  )


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
  folder = tmp_path_factory.mktemp("archives") / "source"
  for number in range(2):
    content = {}
    for name in ("000001", "000002", "000003"):
      arrays = trajscene_test.scene_arrays(seed=number)
      content |= trajscene_test.members(name, arrays)
    trajscene_test.archive(folder / f"{number}.tar.gz", content)
  return folder


def test_interrupted_anywhere_it_ends_with_the_same_files(
  archives, tmp_path, monkeypatch
):
  run.import_records(options(archives, tmp_path / "undisturbed"))
  wanted = files(tmp_path / "undisturbed")
  monkeypatch.setattr(run, "_SHARD_RECORDS", 4)
  run.import_records(options(archives, tmp_path / "small"))
  assert len(files(tmp_path / "small")) == len(wanted) + 1
  wanted = files(tmp_path / "small")
  real = os.replace
  left = [0]

  def failing(*paths):
    left[0] -= 1
    if not left[0]:
      raise KeyboardInterrupt
    real(*paths)

  monkeypatch.setattr(os, "replace", failing)
  out, kills = tmp_path / "killed", 0
  for files_until in (3, 2, 8, 5, 1):
    left[0] = files_until
    with pytest.raises(KeyboardInterrupt):
      run.import_records(options(archives, out))
    kills += 1
  monkeypatch.setattr(os, "replace", real)
  run.import_records(options(archives, out))
  assert files(out) == wanted
  before = (out / shards.MANIFEST_FILE).stat().st_mtime_ns
  again = run.import_records(options(archives, out))
  assert (again.taken, kills) == (6, 5)
  assert (out / shards.MANIFEST_FILE).stat().st_mtime_ns == before


def test_a_damaged_part_is_read_again(archives, tmp_path, monkeypatch):
  run.import_records(options(archives, tmp_path / "undisturbed"))
  real = run.report.of

  def damaging(entries):
    part = next((tmp_path / "out" / "parts").glob("*-000002-000000"))
    part.write_bytes(part.read_bytes()[:-9])
    return real(entries)

  monkeypatch.setattr(run.report, "of", damaging)
  with pytest.raises(errors.UserError, match="run the command again"):
    run.import_records(options(archives, tmp_path / "out"))
  monkeypatch.setattr(run.report, "of", real)
  run.import_records(options(archives, tmp_path / "out"))
  assert files(tmp_path / "out") == files(tmp_path / "undisturbed")


def test_other_options_are_refused(archives, tmp_path):
  out = tmp_path / "out"
  run.import_records(options(archives, out))
  with pytest.raises(errors.UserError, match="frames is 49, asked for 5"):
    run.import_records(options(archives, out, frames=5))
  with pytest.raises(errors.UserError, match="expected 4k"):
    run.import_records(options(archives, out, frames=12))


def test_imported_records_are_valid(archives, tmp_path):
  world = worlds.make(dense=True)
  folder = tmp_path / "plain" / "source"
  folder.mkdir(parents=True)
  layouts.plain(folder, world, grid=(worlds.HEIGHT, worlds.WIDTH))
  geometry_test.imported("npz", folder)
  run.import_records(options(archives, tmp_path / "out"))
  for out in (tmp_path / "plain" / "out", tmp_path / "out"):
    assert validating.validate(out).problems == ()


def test_the_command(archives, tmp_path, capsys):
  out = tmp_path / "out"
  arguments = ["data", "import", "--kind", "trajscene", "--source"]
  arguments += [str(archives), "--out", str(out), "--processes", "1"]
  assert main.main(arguments) == 0
  said = capsys.readouterr().out
  assert "6 scenes: 6 taken, 0 of them mended, 0 refused" in said
  directory = record_directory.named(out, "trajscene")
  written = json.loads((directory / run.REPORT_FILE).read_text())
  assert written["taken"] == 6
  assert main.main([*arguments[:3], "unheard", *arguments[4:]]) == 2
  assert (
    "no importer 'unheard'; there are trajscene," in capsys.readouterr().err
  )
  arguments[5] = str(tmp_path / "nowhere")
  assert main.main(arguments) == 2
  assert "nowhere does not exist" in capsys.readouterr().err


@pytest.mark.parametrize("kind", kinds.NAMES)
def test_an_empty_source_names_the_layout(kind, tmp_path):
  made = run.ImportOptions(kind, (str(tmp_path),), str(tmp_path / "out"))
  with pytest.raises(errors.UserError, match="nothing to import") as error:
    run.import_records(made)
  assert kinds.module(kind).ABOUT in str(error.value)
  assert not (tmp_path / "out").exists()


def pickled(content, path):
  path.write_bytes(pickle.dumps(content))


def saved(content, path):
  torch = pytest.importorskip("torch", reason="writes the published .pth files")
  torch.save({k: torch.from_numpy(v) for k, v in content.items()}, path)


@pytest.mark.parametrize("save", [pickled, saved])
def test_dynamic_replica(tmp_path, save):
  world = worlds.make(matrix=worlds.CENTRED)
  folder = tmp_path / "source"
  layouts.dynamic_replica(folder, world, save)
  [record], report = geometry_test.imported("dynamic_replica", folder)
  assert (report.taken, report.refused) == (1, {})
  np.testing.assert_array_equal(record.points.visible, world.visible)
  pixels = geometry_test.reprojected(record, record.points.tracks)
  # Positions are stored in float32, metres away from the world's origin.
  assert np.abs(pixels - world.positions).max() < 2e-3
  known = record.depth[2] > 0
  # 16-bit floats have 11 bits.
  near = np.abs(record.depth[2][known] / world.maps[2][known] - 1)
  assert near.max() < 1e-3


@pytest.mark.parametrize("layout", ["beside", "delta", "alone"])
def test_delta(tmp_path, layout):
  arrays = trajscene_test.scene_arrays(seed=4)
  folder = tmp_path / "source"
  pickle_path, film_path = {
    "beside": ("dt3d_render/dog_dt3d_pred.pkl", "videos/dog.mp4"),
    "delta": ("dog/dense_3d_track.pkl", "dog/dog.mp4"),
    "alone": ("dog/dense_3d_track.pkl", "elsewhere/cat.mp4"),
  }[layout]
  for path in (pickle_path, film_path):
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
  (folder / pickle_path).write_bytes(pickle.dumps(arrays))
  (folder / film_path).write_bytes(trajscene_test.film(arrays))
  (folder / film_path).with_suffix(".txt").write_text("a dog runs")
  [record], report = geometry_test.imported("delta", folder)
  trajscene_test.check(record, arrays)
  assert record.id == "delta-dog"
  assert record.light == (layout == "alone")
  assert record.caption == ("" if layout == "alone" else "a dog runs")
  assert report.mended == (layout == "alone")


def test_other_conventions_are_refused(tmp_path):
  """A mirrored camera, tracks off their grid, a zoom, a camera that bends."""
  world = worlds.make(dense=True)
  grid = (worlds.HEIGHT, worlds.WIDTH)
  zoom = np.repeat(worlds.MATRIX[None], worlds.FRAMES, 0)
  zoom[5:, 0, 0] *= 1.3
  bent = world.poses.copy()
  bent[:, 0, 0] *= 1.2
  cases = {
    "off the source's own 2D tracks": {"positions": world.positions + 7.0},
    "do not lie on the pixels": {"points": world.points + 1.0},
    "the camera zooms": {"matrix": zoom},
    "are not rigid": {"poses": bent},
    "a clip needs at least": {
      name: vars(world)[name][:4]
      for name in ("points", "positions", "visible", "video", "poses")
    },
  }
  for number, (message, change) in enumerate(cases.items()):
    folder = tmp_path / str(number) / "source"
    folder.mkdir(parents=True)
    if "points" in change and len(change) == 1:
      change["positions"] = world.positions * np.nan
    layouts.plain(folder, worlds.World(**{**vars(world), **change}), grid)
    with pytest.raises(errors.UserError, match=message):
      geometry_test.imported("npz", folder)


def test_long_sparse_scenes_become_clips(tmp_path):
  world = worlds.make(frames=23, still=True)
  folder = tmp_path / "source"
  folder.mkdir()
  layouts.plain(folder, world)
  found, report = geometry_test.imported("npz", folder, frames=9)
  assert (report.taken, report.mended) == (2, 2)
  assert "the last 5 are left out" in next(iter(report.mended_reasons))
  for start, record in zip((0, 9), found):
    assert record.frame_indices.tolist() == list(range(start, start + 9))
    np.testing.assert_allclose(record.world_from_camera[0], np.eye(4))
    pixels = geometry_test.reprojected(record, record.points.tracks)
    wanted = world.positions[start : start + 9]
    assert np.abs(pixels - wanted).max() < 1e-3


def npz(path, name, header, body):
  """A NumPy archive whose header says anything."""
  with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
    text = header.encode().ljust(117) + b"\n"
    start = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little")
    archive.writestr(f"{name}.npy", start + text + body)


@pytest.mark.parametrize(
  ("header", "body", "message"),
  [
    ("{'descr':'|O','fortran_order':False,'shape':(1,)}", b"x", "unpickling"),
    (
      "{'descr':'<f4','fortran_order':False,'shape':(99999,99999)}",
      b"x" * 40,
      "is smaller",
    ),
    (
      "{'descr':'<f4','fortran_order':False,'shape':(1000,)}",
      bytes(4000),
      "more than the limit",
    ),
    ("__import__('os')", b"", "cannot be read"),
  ],
)
def test_hostile_arrays_are_refused(tmp_path, header, body, message):
  npz(tmp_path / "a.npz", "tracks", header, body)
  with pytest.raises(scene.Refused, match=message):
    media.read_npz(tmp_path / "a.npz", 1000)


def test_video_larger_than_the_limit_is_refused(tmp_path):
  world = worlds.make()
  layouts.film(tmp_path / "a.mp4", world.video)
  assert media.read_video(tmp_path / "a.mp4", 10**6)[0].shape == (
    *world.video.shape,
  )
  with pytest.raises(scene.Refused, match="more than 1000 pixels"):
    media.read_video(tmp_path / "a.mp4", 1000)


def test_alike_names_get_their_folders(tmp_path):
  paths = [tmp_path / "x" / "a.npz", tmp_path / "y" / "a.npz", tmp_path / "b"]
  assert source_files.labels(paths) == ["x-a", "y-a", "b"]


def test_two_scenes_of_one_name_keep_two_ids(tmp_path):
  for folder in ("x", "y"):
    (tmp_path / "source" / folder).mkdir(parents=True)
    layouts.plain(tmp_path / "source" / folder, worlds.make())
  found, _ = geometry_test.imported("npz", tmp_path / "source")
  assert [record.id for record in found] == ["npz-x-scene", "npz-y-scene"]
  assert len(record_directory.open_records(tmp_path / "out")) == 2
