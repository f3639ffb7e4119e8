"""Five questions to a vision-language model, by any OpenAI-compatible server.

Source: MoRe4D asks Qwen2.5-VL-72B for 1 to 5 on five matters, of 8 frames
spread evenly over a film (docs/method/paper.md#quality). Its wording is not
published; this one is ours.
"""

import base64
import http.client
import json
import re
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import UInt8

from more4d_jax import errors, pictures

QUESTIONS: Mapping[str, str] = {
  "geometry": "Is the 3D geometry consistent: do sizes, outlines and distances "
  "change between frames only as the camera's motion makes them?",
  "texture": "Are textures stable over time, without flicker, crawling or "
  "smearing?",
  "identity": "Does the main subject stay the same one, in shape, colour and "
  "parts?",
  "coupling": "Do motion and geometry belong together: does what moves move as "
  "a body of its shape would?",
  "background": "Does the background stay as it is, without warping, new or "
  "vanishing things?",
}
"""Name of each question -> its words."""

PAPER = {"I": 3.80, "II": 3.83, "III": 3.76}
"""Group of films -> MoRe4D's mean, docs/method/paper.md#quality."""

FRAMES = 8
_TOP = 5
_JPEG_QUALITY = 90


def request_body(
  model: str, prompt: str, video: UInt8[np.ndarray, "T H W 3"]
) -> dict[str, Any]:
  """A request of the chat completions interface: words, then the frames."""
  shown = np.linspace(0, len(video) - 1, min(FRAMES, len(video)))
  shots = [
    {"type": "image_url", "image_url": {"url": _data_url(video[i])}}
    for i in np.rint(shown).astype(int)
  ]
  words = {"type": "text", "text": _instruction(prompt, len(shots))}
  return {
    "model": model,
    "temperature": 0,
    "messages": [{"role": "user", "content": [words, *shots]}],
  }


def ask(
  endpoint: str, key: str, body: Mapping[str, Any], timeout: float
) -> dict[str, int]:
  """Sends a request and reads the marks of its answer.

  Args:
    endpoint: address up to and without `/chat/completions`.
    key: of the server; empty for one that needs none.
    body: of `request_body`.
    timeout: seconds until the server must have answered.

  Raises:
    UserError: it cannot be reached, refuses, or answers anything but five
      marks.
  """
  address = f"{endpoint.rstrip('/')}/chat/completions"
  headers = {"Content-Type": "application/json"}
  if key:
    headers["Authorization"] = f"Bearer {key}"
  request = urllib.request.Request(
    address, json.dumps(body).encode(), headers, method="POST"
  )
  try:
    with urllib.request.urlopen(request, timeout=timeout) as response:
      answer = response.read()
  except urllib.error.HTTPError as error:
    raise _refused(address, error) from error
  except (OSError, http.client.HTTPException) as error:
    reason = getattr(error, "reason", None) or error
    raise errors.UserError(
      f"cannot reach {address} ({reason}): check --endpoint and whether the "
      "server runs"
    ) from error
  return marks(_content(answer, address))


def marks(text: str) -> dict[str, int]:
  """Question -> 1 to 5, of the first JSON object in an answer.

  Raises:
    UserError: unless each question has one mark.
  """
  found = re.search(r"\{[^{}]*\}", text)
  try:
    read = json.loads(found.group()) if found else {}
  except ValueError:
    read = {}
  wrong = [name for name in QUESTIONS if not _is_mark(read.get(name))]
  if wrong:
    raise errors.UserError(
      f"expected a mark of 1 to {_TOP} for each of {', '.join(QUESTIONS)}, "
      f"found none for {', '.join(wrong)} in the answer {_short(text)}: try "
      "again, or ask another model"
    )
  return {name: int(read[name]) for name in QUESTIONS}


def _is_mark(value: object) -> bool:
  is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
  return is_number and value in range(1, _TOP + 1)


def _instruction(prompt: str, count: int) -> str:
  lines = "\n".join(f"- {name}: {words}" for name, words in QUESTIONS.items())
  example = json.dumps(dict.fromkeys(QUESTIONS, 3))
  return (
    f"These {count} pictures are frames of one film, in order and at even "
    f"distances in time. A moving camera films this scene: {prompt!r}. Judge "
    f"the film with a whole number from 1 (very bad) to {_TOP} (flawless) on "
    f"each of these questions:\n{lines}\nAnswer with a JSON object alone, such "
    f"as {example}"
  )


def _data_url(picture: UInt8[np.ndarray, "H W 3"]) -> str:
  text = base64.b64encode(pictures.jpeg(picture, _JPEG_QUALITY)).decode()
  return f"data:image/jpeg;base64,{text}"


def _refused(address: str, error: urllib.error.HTTPError) -> errors.UserError:
  with error:
    said = _short(error.read().decode(errors="replace"))
  if error.code in (401, 403):
    return errors.UserError(
      f"expected a key that {address} accepts, found it refused "
      f"({error.code} {said}): set the variable that --key-variable names"
    )
  return errors.UserError(
    f"expected an answer of {address}, found {error.code} {error.reason} "
    f"{said}: check --endpoint and --model"
  )


def _content(answer: bytes, address: str) -> str:
  try:
    content = json.loads(answer)["choices"][0]["message"]["content"]
  except (ValueError, LookupError, TypeError) as error:
    raise errors.UserError(
      f"expected {address} to answer as OpenAI's chat completions do, found "
      f"{_short(answer.decode(errors='replace'))}: check --endpoint"
    ) from error
  return str(content)


def _short(text: str) -> str:
  return repr(" ".join(text.split())[:160])
