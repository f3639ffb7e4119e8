"""Published TrajScene-60K archives, read as a stream.

Source: docs/method/data.md#published-archives.

`<range>.tar.gz` with, per scene, `<range>/<id>.mp4`, `<id>.txt` (caption),
`<id>_dt3d_pred.pkl` (see `dense_pickle`) and renderings that are left alone.
The grid (336x596, 384x512, any) is found in the file. Nothing is extracted: a
member's name only tells scene and kind apart, its content goes to temporary
files under names of our own. The videos derive from WebVid-10M, whose licence
forbids passing them on; records made of them fall under it.
"""

import functools
import gzip
import pathlib
import re
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from typing import IO

from data_pipelines.importers import (
  dense_pickle,
  media,
  source_files,
  tar_stream,
)
from data_pipelines.importers import scene as scene_lib

ABOUT = "TrajScene-60K archives <range>.tar.gz, or folders of them"
_LICENCE = "WebVid-10M terms: research only, not to be passed on"
_WANTED = {".mp4": "video", ".txt": "caption", "_dt3d_pred.pkl": "tracks"}
_LEFT = ("_dt3d_render.mp4", "_mask_render.mp4", "_mask_render_binary.npy")
_KINDS = "|".join(
  map(re.escape, (*_LEFT, *sorted(_WANTED, key=len, reverse=True)))
)
_NAME = re.compile(rf"(?:\./)?(?:[\w.-]+/)*(?P<id>[\w-]+?)(?P<kind>{_KINDS})$")
_BROKEN = (tar_stream.DamagedError, EOFError, zlib.error, gzip.BadGzipFile)


def units(paths: Sequence[str]) -> list[tuple[str, ...]]:
  """One unit per archive."""
  found = source_files.files(paths, (".tar.gz", ".tgz", ".tar"))
  names = [path.name.split(".")[0] for path in found]
  return list(zip(map(str, found), source_files.labels(found, names)))


def found(
  unit: tuple[str, ...], settings: scene_lib.Settings
) -> Iterator[scene_lib.Found]:
  """Yields the scenes of an archive as they become complete."""
  path, stem = pathlib.Path(unit[0]), unit[1]
  pending: dict[str, dict[str, IO[bytes]]] = {}
  seen: set[tuple[str, str]] = set()
  refused: dict[str, str] = {}
  try:
    with _opened(path) as stream:
      for name, kind, file in _wanted(stream, settings, refused, path.name):
        if (name, kind) in seen:
          file.close()
          continue
        seen.add((name, kind))
        parts = pending.setdefault(name, {})
        parts[kind] = file
        if len(parts) == len(_WANTED) and name not in refused:
          yield _found(stem, name, pending.pop(name), settings)
  except _BROKEN as error:
    refused[""] = f"the archive is damaged or cut off ({error})"
  for name, parts in sorted(pending.items()):
    if name not in refused:
      yield _found(stem, name, parts, settings)
  for name, reason in refused.items():
    label = f"{stem}-{name}" if name else path.name
    yield scene_lib.Found(label, functools.partial(source_files.refuse, reason))


def _opened(path: pathlib.Path) -> IO[bytes]:
  """The archive, unpacked if its first bytes are those of gzip."""
  with path.open("rb") as file:
    packed = file.read(2) == b"\x1f\x8b"
  return gzip.open(path, "rb") if packed else path.open("rb")


def _wanted(
  stream: IO[bytes],
  settings: scene_lib.Settings,
  refused: dict[str, str],
  archive: str,
) -> Iterator[tuple[str, str, IO[bytes]]]:
  """Yields scene, kind and content of the members that are used.

  Reads to the end, where a gzip file has its checksum.
  """
  total = 0
  for member, content in tar_stream.members(stream):
    total += member.size
    if total > settings.max_archive_bytes:
      raise tar_stream.DamagedError(
        f"its members claim more than {settings.max_archive_bytes} bytes"
      )
    match = _NAME.match(member.name)
    if member.kind == "folder":
      continue
    if match is None or ".." in member.name.split("/"):
      refused[member.name] = "a member whose name is none of a scene's files"
      continue
    name, kind = match["id"], _WANTED.get(match["kind"])
    if kind is None or name in refused:
      continue
    if member.kind != "file":
      refused[name] = f"its {kind} is {member.kind}"
    elif member.size > settings.max_member_bytes:
      refused[name] = (
        f"its {kind} claims {member.size} bytes, more than the limit of "
        f"{settings.max_member_bytes}"
      )
    else:
      file = tempfile.NamedTemporaryFile(dir=settings.scratch)  # noqa: SIM115
      for chunk in content.chunks():
        file.write(chunk)
      file.flush()
      file.seek(0)
      yield name, kind, file
  rest = tar_stream.after_end(stream)
  if rest is not None:
    refused[f"{archive} after its end"] = (
      f"{rest} follow the archive's end marker: not read"
    )


def _found(
  stem: str,
  name: str,
  parts: dict[str, IO[bytes]],
  settings: scene_lib.Settings,
) -> scene_lib.Found:
  read = functools.partial(_read, stem, name, parts, settings)
  return scene_lib.Found(f"{stem}-{name}", read)


def _read(
  stem: str,
  name: str,
  parts: dict[str, IO[bytes]],
  settings: scene_lib.Settings,
) -> scene_lib.Scene:
  try:
    for kind in ("tracks", "video"):
      if kind not in parts:
        raise scene_lib.Refused(f"the archive holds no {kind} of it")
    caption = None
    if "caption" in parts:
      caption = parts["caption"].read().decode(errors="replace").strip()
    content = source_files.unpickled(parts["tracks"].name)
    video = functools.partial(
      media.read_video, parts["video"], settings.max_video_values
    )
    return dense_pickle.scene_of(
      content,
      dense_pickle.Source(
        name=f"{stem}-{name}",
        source=f"TrajScene-60K {stem}/{name}",
        licence=_LICENCE,
        caption=caption or None,
        video=video,
        fps=settings.fps,
      ),
    )
  finally:
    for file in parts.values():
      file.close()
