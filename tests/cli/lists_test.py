"""Lists on a command line, in every way to write them."""

import pytest
import tyro

from more4d_jax import errors, item_lists
from more4d_jax.cli import generate, lists

_KNOWN = ("static", "forward", "a, b.json", "c,d", "x")


def _is_item(text):
  return text in _KNOWN


@pytest.mark.parametrize(
  ("words", "found"),
  [
    ("static forward", ("static", "forward")),
    ("static --flag forward --flag x", ("static", "forward", "x")),
    ("static,forward", ("static", "forward")),
    ("static, forward,", ("static", "forward")),
    ("static x,forward", ("static", "x", "forward")),
    # An item with a comma is that item, also where its parts are none.
    ("a,_b.json x", ("a, b.json", "x")),
    ("c,d", ("c,d",)),
    # What is nothing is left whole where no part is anything either.
    ("no,thing.json", ("no,thing.json",)),
    ("static,nothing.json", ("static", "nothing.json")),
  ],
)
def test_items(words, found):
  def command(*, flag: lists.Words = ()):
    return flag

  arguments = ["--flag", *words.split(" ")]
  arguments = [
    word.replace("a,_b", "a, b").replace(",f", ", f") for word in arguments
  ]
  given = tyro.cli(command, args=arguments)
  assert lists.items(given, _is_item, "--flag") == found


def test_no_item_is_a_mistake_only_where_the_flag_was_given():
  assert lists.items((), _is_item, "--flag") == ()
  with pytest.raises(errors.UserError, match="after --flag, found none"):
    lists.items(((",",),), _is_item, "--flag")


def test_directories(tmp_path):
  for name in ("a,b", "c", "d"):
    (tmp_path / name).mkdir()
  one, two = f"{tmp_path}/a,b", f"{tmp_path}/c, {tmp_path}/d"
  assert item_lists.directories(one) == (one,)
  assert item_lists.directories(two) == (f"{tmp_path}/c", f"{tmp_path}/d")
  assert item_lists.directories(" ") == ()


def test_a_file_with_a_comma_is_one_camera(tmp_path, monkeypatch):
  """Each existing path is itself, as `render` takes it."""
  monkeypatch.chdir(tmp_path)
  (tmp_path / "dolly, slow.json").write_text(
    '{"convention": "OpenCV", "world_from_camera": [[[1,0,0,0],[0,1,0,0],'
    "[0,0,1,0],[0,0,0,1]]]}"
  )
  names = generate.choose_cameras((("dolly, slow.json", "static,x_moving"),))
  assert names == ("dolly, slow.json", "static", "x_moving")
