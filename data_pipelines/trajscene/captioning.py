"""Captions and their judgement as files for a model outside this program.

`requests` writes one line of JSON per record: `id`, `question`, and for
captions `images` (JPEGs in base64, in order of time). A model's answers are
lines of `id` and `answer`, which `captions_in` and `verdicts_in` read. The
paper asks CogVLM2 for captions, and DeepSeek-V3 whether a caption
names countable things that move by themselves (docs/method/data.md#curation);
the questions here are put in our own words.
"""

import base64
import json
import os
import pathlib
import re
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from PIL import Image

from data_pipelines.trajscene import shards
from more4d_jax import errors, pictures
from more4d_jax.data import record_directory

CAPTION_QUESTION = (
  "These are frames of one video, in order of time. Say in one or two plain "
  "sentences what is to be seen: how many things or beings of which kind, what "
  "each of them does from the first to the last frame and in which direction, "
  "and where it happens. Do not speak of the camera, of frames, of text laid "
  "over the picture, or of moods."
)
JUDGE_QUESTION = (
  "A video is to teach how things move in three dimensions. Its caption is "
  "given below. Keep it only if the caption names things or beings that can be "
  "counted and that move by themselves, as a whole or in part, such as a dog "
  "that runs, a door that opens or a crane that turns. Refuse it if what moves "
  "cannot be counted or has no shape of its own (water, smoke, fire, rain, "
  "particles, a crowd), if only the camera moves, if nothing moves, or if the "
  "caption is vague about what moves. Answer with JSON alone: "
  '{"keep": true or false, "reason": "a few words"}.'
)
_SIDE = 512  # Pixels of the longer side of a request's picture.
_OBJECT = re.compile(r"\{.*\}", re.DOTALL)


def requests(
  records: str | os.PathLike[str],
  out: str | os.PathLike[str],
  ask: Literal["caption", "judge"],
  *,
  split: str | None = None,
  frames: int = 6,
) -> int:
  """Writes the requests about a data set, whole or not at all.

  Args:
    records: its directory.
    out: the file of JSON lines.
    ask: for captions of the films, or for a judgement of the captions.
    split: its split, where there are several.
    frames: pictures per record.

  Returns: how many.

  Raises:
    UserError: no records there, or fewer than one frame.
  """
  if frames < 1:
    raise errors.UserError(f"frames is {frames}; expected at least 1")
  opened = record_directory.open_records(records, split)
  make = _caption_request if ask == "caption" else _judge_request
  lines = [
    json.dumps(make(opened[number], frames)) for number in range(len(opened))
  ]
  content = "".join(f"{line}\n" for line in lines).encode()
  shards.write_file(pathlib.Path(out), content)
  return len(lines)


def captions_in(path: str | os.PathLike[str]) -> dict[str, str]:
  """Id -> new caption, from a file of answers.

  Raises:
    UserError: no such file, or a line without `id` and `answer`.
  """
  return {
    name: " ".join(answer.split())
    for name, answer in _answers(path)
    if answer.strip()
  }


def verdicts_in(path: str | os.PathLike[str]) -> dict[str, str | None]:
  """Id -> None if its caption is kept, else why not.

  An answer in which no `{"keep": ...}` can be found refuses the record, and
  says so.
  """
  return {name: _verdict(answer) for name, answer in _answers(path)}


def _verdict(answer: str) -> str | None:
  match = _OBJECT.search(answer)
  try:
    found = json.loads(match.group()) if match else {}
  except ValueError:
    found = {}
  if not isinstance(found.get("keep"), bool):
    return "no readable verdict"
  if found["keep"]:
    return None
  return str(found.get("reason") or "refused without a reason")


def _answers(path: str | os.PathLike[str]) -> Iterator[tuple[str, str]]:
  try:
    lines = pathlib.Path(path).read_text().splitlines()
  except OSError as error:
    raise errors.UserError(
      f"{path} cannot be read ({error.strerror}); expected lines of JSON with "
      f"id and answer"
    ) from error
  for number, line in enumerate(lines, 1):
    if not line.strip():
      continue
    try:
      entry = json.loads(line)
      yield str(entry["id"]), str(entry["answer"])
    except (ValueError, KeyError, TypeError) as error:
      raise errors.UserError(
        f"line {number} of {path} is no JSON with id and answer ({error})"
      ) from error


def _caption_request(item: Any, frames: int) -> dict[str, Any]:
  found = item.decode(("id", "video"))
  chosen = np.linspace(0, len(found["video"]) - 1, frames).round().astype(int)
  pictures = [found["video"][n] for n in sorted(set(chosen.tolist()))]
  return {
    "id": found["id"],
    "question": CAPTION_QUESTION,
    "images": [_jpeg(picture) for picture in pictures],
  }


def _judge_request(item: Any, frames: int) -> dict[str, Any]:
  del frames  # The judge reads the caption alone.
  found = item.decode(("id", "caption"))
  question = f"{JUDGE_QUESTION}\n\nCaption: {found['caption']}"
  return {"id": found["id"], "question": question}


def _jpeg(picture: np.ndarray) -> str:
  image = Image.fromarray(picture)
  image.thumbnail((_SIDE, _SIDE))
  return base64.b64encode(pictures.jpeg(np.asarray(image), 90)).decode()
