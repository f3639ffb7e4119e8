"""Captions to token numbers; imports no jax."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

PAD = 0
END = 1
_FIRST_BYTE = 2
BYTE_VOCABULARY = 256 + _FIRST_BYTE


@dataclasses.dataclass(frozen=True)
class ByteTokenizer:
  """UTF-8 bytes as tokens: 0 pads, 1 ends a text, byte b is b + 2.

  Attributes:
    length: tokens per text. A longer text is cut; the end token always stands.
  """

  length: int

  def __call__(self, texts: Sequence[str]) -> Int[np.ndarray, "B L"]:
    """Returns int32 token numbers, padded at the end."""
    tokens = np.full((len(texts), self.length), PAD, np.int32)
    for row, text in zip(tokens, texts):
      data = np.frombuffer(text.encode(), np.uint8)[: self.length - 1]
      row[: len(data)] = data.astype(np.int32) + _FIRST_BYTE
      row[len(data)] = END
    return tokens

  def decode(self, tokens: Int[np.ndarray, "B L"]) -> list[str]:
    """Returns the texts; a character cut in half becomes U+FFFD."""
    return [
      bytes(int(t) - _FIRST_BYTE for t in row if t >= _FIRST_BYTE).decode(
        errors="replace"
      )
      for row in tokens
    ]
