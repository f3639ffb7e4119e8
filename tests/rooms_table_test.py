"""CONTRIBUTING's tables agree with the tree and with the import rules."""

import re

from tests import import_rules_test, repo_test

ROOT = repo_test.ROOT
TEXT = (ROOT / "CONTRIBUTING.md").read_text()
_NAME = re.compile(r"`([\w./]+)`")


def _table(header):
  """The rows below a header row, as lists of cells."""
  _, _, rest = TEXT.partition(header)
  assert rest, f"no table {header!r}"
  rows = rest.splitlines()[2:]
  end = next(i for i, row in enumerate(rows) if not row.startswith("|"))
  return [[c.strip() for c in row.split("|")[1:-1]] for row in rows[:end]]


def test_rooms_and_what_they_import():
  stated = {
    _NAME.findall(room)[0]: set(_NAME.findall(imports))
    for room, _, imports in _table("| room | holds | imports |")
  }
  rules = {room: set(names) for room, names in import_rules_test.RULES.items()}
  assert stated == rules


def test_joiners():
  sentence = re.search(r"\n\n([^|]*?) join\sthe\srooms", TEXT).group(1)
  assert set(_NAME.findall(sentence)) == import_rules_test.JOINERS


def test_every_folder_has_a_row():
  stated = {_NAME.findall(name)[0] for name, _ in _table("| folder | holds |")}
  folders = {
    path.relative_to(ROOT).parts[0]
    for path in repo_test.FILES
    if len(path.relative_to(ROOT).parts) > 1
  }
  assert stated == {name for name in folders if name[0] != "."}
