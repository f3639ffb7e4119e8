"""Output of DELTA (dense 3D tracking): pickles beside their videos.

Two layouts: `<name>/dense_3d_track.pkl`, as DELTA writes it, and
`<...>/<name>_dt3d_pred.pkl` (docs/method/data.md#tracker-files). The video is
looked for in the `videos` folder if one is given, then beside the pickle,
beside its folder, and in the folder `videos` in place of `dt3d_render`; the
caption as .txt beside the video. Without a video the record holds the first
frame alone, made of the file's colours. Conventions: see `dense_pickle`.
"""

import functools
import pathlib
from collections.abc import Sequence

from data_pipelines.importers import dense_pickle, media, source_files
from data_pipelines.importers import scene as scene_lib

ABOUT = "folders with dense_3d_track.pkl or NAME_dt3d_pred.pkl"
_LICENCE = "unknown: that of the videos"
_SUFFIX = "_dt3d_pred"


def units(paths: Sequence[str]) -> list[tuple[str, ...]]:
  """One unit per pickle."""
  files = source_files.files(paths, (".pkl",))
  names = [_name(path) for path in files]
  return list(zip(map(str, files), source_files.labels(files, names)))


def _name(path: pathlib.Path) -> str:
  """The video's, which is the folder's where DELTA wrote it."""
  if path.stem == "dense_3d_track":
    return path.parent.name
  return path.stem.removesuffix(_SUFFIX)


def _read(
  path: pathlib.Path, name: str, settings: scene_lib.Settings
) -> scene_lib.Scene:
  source_files.check_size(path, settings.max_member_bytes)
  content = source_files.unpickled(path)
  video, caption = None, None
  film = _video(path, settings.videos)
  if film is not None:
    video = functools.partial(media.read_video, film, settings.max_video_values)
    caption = source_files.caption(film.with_suffix(".txt"))
  return dense_pickle.scene_of(
    content,
    dense_pickle.Source(
      name, f"DELTA {path.name}", _LICENCE, caption, video, settings.fps
    ),
  )


found = source_files.one_per_unit(_read)


def _video(path: pathlib.Path, videos: str | None) -> pathlib.Path | None:
  folders = [path.parent, path.parent.parent]
  if "dt3d_render" in path.parts:
    there = str(path.parent).replace("dt3d_render", "videos")
    folders.insert(0, pathlib.Path(there))
  if videos is not None:
    folders.insert(0, pathlib.Path(videos))
  for folder in folders:
    film = folder / f"{_name(path)}.mp4"
    if film.is_file():
      return film
  return None
