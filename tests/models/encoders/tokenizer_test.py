"""Published tokenizers' files: ends, cuts, padding, and mistakes."""

import numpy as np
import pytest

from more4d_jax import errors
from more4d_jax.models.encoders import tokenizer
from tests.models.encoders import small_vocabulary
from tests.published import released


def test_tokenizer_json(tmp_path):
  released.write_tokenizer(tmp_path)
  encode = tokenizer.FileTokenizer(tmp_path, 4, 60)
  tokens = encode(["a red ball moves", "ball", ""])
  # "▁a" is 7 in the written list; a caption is cut, its end token stays.
  assert tokens.tolist() == [[7, 8, 9, 1], [9, 1, 0, 0], [1, 0, 0, 0]]
  assert tokens.dtype == np.int32


def test_sentencepiece_model(tmp_path):
  sentences = "a red ball moves", "the ball is red"
  words = small_vocabulary.train(tmp_path, sentences, 24)
  encode = tokenizer.FileTokenizer(tmp_path, 30, 60)
  (tokens,) = encode(["red ball"])
  count = int(np.argmax(tokens == tokenizer.END))
  assert words.decode(tokens[:count].tolist()) == "red ball"
  assert not tokens[count + 1 :].any()


def test_files_that_are_absent_damaged_or_of_another_encoder(tmp_path):
  with pytest.raises(errors.UserError, match="found neither"):
    tokenizer.FileTokenizer(tmp_path, 4, 60)(["a"])
  released.write_tokenizer(tmp_path / "small")
  with pytest.raises(errors.UserError, match="another encoder"):
    tokenizer.FileTokenizer(tmp_path / "small", 4, 5)(["a"])
  file = tmp_path / "small" / "tokenizer.json"
  whole = file.read_text()
  file.write_text(whole[:-9])
  with pytest.raises(errors.UserError, match="damaged"):
    tokenizer.FileTokenizer(tmp_path / "small", 4, 61)(["a"])
  (tmp_path / "other").mkdir()
  (tmp_path / "other" / "tokenizer.json").write_text(
    whole.replace("<pad>", "<fill>")
  )
  with pytest.raises(errors.UserError, match="padding -1"):
    tokenizer.FileTokenizer(tmp_path / "other", 4, 60)(["a"])
