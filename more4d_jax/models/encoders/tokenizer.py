"""Captions to token numbers; imports no jax."""

import dataclasses
import functools
import hashlib
import json
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int

from more4d_jax import errors

PAD = 0
END = 1
_FIRST_BYTE = 2
BYTE_VOCABULARY = 256 + _FIRST_BYTE


def _padded(
  rows: Sequence[Sequence[int]], length: int
) -> Int[np.ndarray, "B L"]:
  """Cuts and ends every row, then pads it."""
  tokens = np.full((len(rows), length), PAD, np.int32)
  for row, values in zip(tokens, rows):
    kept = values[: length - 1]
    row[: len(kept)] = kept
    row[len(kept)] = END
  return tokens


@runtime_checkable
class Tokenizer(Protocol):
  """Captions to token numbers.

  Attributes:
    length: tokens per text.
  """

  length: int

  def __call__(self, texts: Sequence[str]) -> Int[np.ndarray, "B L"]:
    """Returns int32 token numbers, padded at the end."""

  @property
  def facts(self) -> dict[str, Any]:
    """What decides which numbers a text becomes, JSON values."""


def find(
  folder: pathlib.Path | None, length: int, vocabulary: int, name: str
) -> Tokenizer:
  """The tokenizer of a text encoder.

  Args:
    folder: with the tokenizer's files; None where the network has none.
    length: tokens per text.
    vocabulary: token numbers that the encoder knows.
    name: of the network, for messages.

  Raises:
    UserError: if the encoder reads other tokens than bytes and there are no
      files, or they are of another encoder.
  """
  if folder is not None:
    found = FileTokenizer(folder, length, vocabulary)
    found([""])  # Damaged files show now.
    return found
  if vocabulary == BYTE_VOCABULARY:
    return ByteTokenizer(length)
  raise errors.UserError(
    f"{name} reads {vocabulary} kinds of tokens and holds no tokenizer for "
    "them: convert its text encoder again from a folder that holds "
    "google/umt5-xxl"
  )


@dataclasses.dataclass(frozen=True)
class ByteTokenizer:
  """UTF-8 bytes as tokens: 0 pads, 1 ends a text, byte b is b + 2.

  Attributes:
    length: tokens per text. A longer text is cut; the end token always stands.
  """

  length: int

  def __call__(self, texts: Sequence[str]) -> Int[np.ndarray, "B L"]:
    """Returns int32 token numbers, padded at the end."""
    rows = [[b + _FIRST_BYTE for b in text.encode()] for text in texts]
    return _padded(rows, self.length)

  @property
  def facts(self) -> dict[str, Any]:
    """What decides which numbers a text becomes, JSON values."""
    return {"text_length": self.length}

  def decode(self, tokens: Int[np.ndarray, "B L"]) -> list[str]:
    """Returns the texts; a character cut in half becomes U+FFFD."""
    return [
      bytes(int(t) - _FIRST_BYTE for t in row if t >= _FIRST_BYTE).decode(
        errors="replace"
      )
      for row in tokens
    ]


@dataclasses.dataclass(frozen=True)
class FileTokenizer:
  """The tokenizer of a published text encoder, from the files beside it.

  Attributes:
    folder: holds tokenizer.json or spiece.model.
    length: tokens per text. A longer text is cut; the end token always stands.
    vocabulary: token numbers that the encoder knows.
  """

  folder: pathlib.Path
  length: int
  vocabulary: int

  def __call__(self, texts: Sequence[str]) -> Int[np.ndarray, "B L"]:
    """Returns int32 token numbers, padded at the end.

    Raises:
      UserError: if the files are absent, damaged or of another encoder.
    """
    encode = _encoder(self.folder, self.vocabulary)
    return _padded([encode(text) for text in texts], self.length)

  @property
  def facts(self) -> dict[str, Any]:
    """What decides which numbers a text becomes, JSON values."""
    return {"text_length": self.length, "tokenizer": digest(self.folder)}


def digest(folder: pathlib.Path) -> str:
  """16 hexadecimal digits that change with a tokenizer's files.

  Raises:
    UserError: if there are none.
  """
  return hashlib.sha256(_file(folder).read_bytes()).hexdigest()[:16]


def _file(folder: pathlib.Path) -> pathlib.Path:
  """The file that is read of a tokenizer's folder."""
  for name in ("tokenizer.json", "spiece.model"):
    if (folder / name).is_file():
      return folder / name
  raise errors.UserError(
    f"expected tokenizer.json or spiece.model in {folder}, found neither: "
    "convert the text encoder again from a folder that holds google/umt5-xxl"
  )


@functools.cache
def _encoder(
  folder: pathlib.Path, vocabulary: int
) -> Callable[[str], list[int]]:
  """A function from text to token numbers without the end token."""
  path = _file(folder)
  read = _read_fast if path.suffix == ".json" else _read_plain
  encode, size, pad, end = read(path)
  if (pad, end) != (PAD, END) or size > vocabulary:
    raise errors.UserError(
      f"{path} is the tokenizer of another encoder: it has {size} tokens, "
      f"padding {pad} and end {end}, the encoder {vocabulary}, {PAD} and {END}"
    )
  return encode


def _read_fast(path: pathlib.Path) -> tuple[Callable, int, int, int]:
  import tokenizers

  text = path.read_text()
  try:
    json.loads(text)
  except json.JSONDecodeError as error:
    raise _damaged(path, error) from error
  found = tokenizers.Tokenizer.from_str(text)
  # The length is ours to decide.
  found.no_truncation()
  found.no_padding()

  def encode(text: str) -> list[int]:
    return found.encode(text, add_special_tokens=False).ids

  ends = [found.token_to_id(name) for name in ("<pad>", "</s>")]
  pad, end = (-1 if number is None else number for number in ends)
  return encode, found.get_vocab_size(), pad, end


def _read_plain(path: pathlib.Path) -> tuple[Callable, int, int, int]:
  import sentencepiece

  try:
    found = sentencepiece.SentencePieceProcessor(model_file=os.fspath(path))
  except (RuntimeError, OSError) as error:
    raise _damaged(path, error) from error
  return found.encode, found.get_piece_size(), found.pad_id(), found.eos_id()


def _damaged(path: pathlib.Path, error: Exception) -> errors.UserError:
  line = str(error).partition("\n")[0]
  return errors.UserError(f"{path} is damaged ({line}): download it again")
