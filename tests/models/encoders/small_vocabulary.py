"""A small SentencePiece model, trained in the test that needs one."""

import io
import pathlib
from collections.abc import Sequence
from typing import Any

import pytest


def train(folder: pathlib.Path, sentences: Sequence[str], size: int) -> Any:
  """Writes `spiece.model` into a folder and returns its own processor.

  The numbers of padding, end and unknown are those of umT5's vocabulary.

  Args:
    folder: that exists.
    sentences: to train on.
    size: most pieces of the vocabulary.
  """
  sentencepiece = pytest.importorskip(
    "sentencepiece", reason="it trains the small model"
  )
  model = io.BytesIO()
  sentencepiece.SentencePieceTrainer.train(
    sentence_iterator=iter([*sentences] * 20),
    model_writer=model,
    vocab_size=size,
    pad_id=0,
    eos_id=1,
    unk_id=2,
    bos_id=-1,
    hard_vocab_limit=False,
    minloglevel=2,
  )
  (folder / "spiece.model").write_bytes(model.getvalue())
  return sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
