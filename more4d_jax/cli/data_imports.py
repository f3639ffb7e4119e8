"""`more4d data import` and `track`: records of other people's data."""

import pathlib
from typing import Any

from more4d_jax import errors
from more4d_jax.cli import data_curation, outputs


def import_records(
  *,
  kind: str,
  source: tuple[str, ...],
  out: str,
  config: str | None = None,
  frames: int = 49,
  split: str = "train",
  videos: str | None = None,
  fps: float = 24.0,
  processes: int | None = None,
) -> None:
  """Makes records of other people's tracks; started again it continues.

  Kinds: trajscene (published TrajScene-60K archives), delta, tapip3d,
  spatialtracker, kubric, pointodyssey, dynamic_replica, tapvid3d, stereo4d,
  npz (plain arrays), video (mp4 with depth and 2D tracks). The docstring of
  each file in `data_pipelines/importers` states the layout it expects.

  Args:
    kind: what the source is.
    source: its files or folders.
    out: folder of data sets; the records lie in `traj_scene/CONFIG/VERSION`
      of it, and `report.json` there says what was taken, mended and refused.
    config: name of the data set; the kind unless given.
    frames: longest clip, 4k + 1.
    split: name in the data set.
    videos: folder of the videos, where they do not lie beside the tracks.
    fps: frames a second, where the files do not say.
    processes: worker processes; one per core unless given.
  """
  from data_pipelines.importers import scene as importing

  if not fps > 0:
    raise errors.UserError(f"fps is {fps}; expected more than 0")
  _import(
    kind,
    source,
    (out, config or kind),
    frames=frames,
    split=split,
    settings=importing.Settings(videos=videos, fps=fps),
    processes=processes,
  )


def _import(
  kind: str,
  source: tuple[str, ...],
  place: tuple[str, str],
  *,
  processes: int | None,
  **options: Any,
) -> str:
  """Imports into a data set's config, prints the report; returns where."""
  from data_pipelines.importers import run
  from more4d_jax.data import record_directory

  if processes is not None and processes < 1:
    raise errors.UserError(f"processes is {processes}; expected at least 1")
  directory = str(record_directory.named(*place))
  outputs.check_folder(pathlib.Path(place[0]))
  report = run.import_records(
    run.ImportOptions(
      kind=kind, sources=source, out=directory, processes=processes, **options
    )
  )
  print(report.as_text())
  print(f"{report.taken} records in {directory}")
  return directory


def track(
  source: tuple[str, ...],
  /,
  *,
  out: str,
  depth: str | None = None,
  tracker: str = "flow",
  weights: str | None = None,
  config: str = "films",
  frames: int = 49,
  height: int = 368,
  width: int = 512,
  fps: float = 12.0,
  fov: float = 60.0,
  cameras: str = "unknown",
  split: str = "train",
  curated: bool = True,
  threshold: tuple[str, ...] = (),
  processes: int | None = None,
) -> None:
  """Makes records of films: depth and tracks estimated, then curated.

  Films are cut into clips, one record each. The same command again continues.

  Args:
    source: films, or folders of them; NAME.txt beside a film describes it.
    out: folder of data sets. What was tracked goes to
      `traj_scene/CONFIG_tracked/VERSION` of it, with `report.json`; the good
      records to `traj_scene/CONFIG/VERSION`.
    depth: MODULE:FUNCTION (takes a frame, [H W 3] uint8, returns metres), a
      directory made by `more4d bundle`, or a metric network of Depth Anything
      (depth-anything/NAME on the Hugging Face hub, or its folder; needs PyTorch
      and transformers); NAME.depth.npy ([T H W], metres) beside each film
      when left out.
    tracker: flow (chained optical flow, a baseline; needs the extra [track]),
      cotracker3 (needs PyTorch), tapir or bootstapir (JAX, need tapnet), delta
      (needs DELTA), or MODULE:FUNCTION (takes [T H W 3] uint8, returns
      [T H W 2] pixels and [T H W] bool for the first frame's pixels).
    weights: file of the weights of tapir, bootstapir or delta, as their authors
      publish it.
    config: name of the data set.
    frames: of a clip, 4k + 1.
    height: most rows of the grid.
    width: most columns of the grid.
    fps: most frames a second.
    fov: horizontal angle of view in degrees, where the depth has no camera.
    cameras: unknown (tracks lie in each frame's camera), or estimated from
      what stands still (tracks lie in the first camera; needs the extra
      [track]).
    split: name in the data set.
    curated: copy the good records, as `data curate` does.
    threshold: changed ones of the filters, NAME=NUMBER, or NAME=off.
    processes: worker processes; one per core unless given.
  """
  from data_pipelines.importers import scene as importing
  from data_pipelines.tracking import films
  from more4d_jax.data import record_directory

  tracking = importing.Tracking(
    tracker, depth, fov, height, width, frames, fps, weights, cameras
  )
  films.check(tracking)
  whole = f"{config}_tracked" if curated else config
  tracked = _import(
    "track",
    source,
    (out, whole),
    frames=frames,
    split=split,
    settings=importing.Settings(fps=fps, tracking=tracking),
    processes=processes,
  )
  if curated:
    data_curation.curate(
      records=tracked,
      out=str(record_directory.named(out, config)),
      split=split,
      threshold=threshold,
      processes=processes,
    )
