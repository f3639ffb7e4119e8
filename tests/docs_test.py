"""Every citation of docs/ and every relative link leads somewhere."""

import functools
import importlib.util
import pathlib
import re
import unicodedata

import pytest

from tests import repo_test

ROOT = repo_test.ROOT
PAGES = [p for p in repo_test.FILES if p.suffix == ".md"]
SOURCES = [p for p in repo_test.TEXTS if p.suffix != ".md"]

_CITATION = re.compile(r"docs/[\w/]+\.md(?:#[\w-]+)?")
# The tail of a citation that a line break has cut in two.
_CUT = re.compile(r"docs/(?:[\w/]*|[\w/]+\.md#?|[\w/]+\.)$", re.MULTILINE)
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#{1,6} (.+?)\s*$", re.MULTILINE)


def slug(heading):
  """The anchor that GitHub and mkdocs give a heading."""
  text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "")
  text = unicodedata.normalize("NFKD", text).lower()
  return re.sub(r"[\s]+", "-", re.sub(r"[^\w\s-]", "", text).strip())


@functools.cache
def slugs(path):
  """The anchors of a page, without what stands in its fenced blocks."""
  text = _FENCE.sub("", path.read_text())
  return frozenset(slug(match) for match in _HEADING.findall(text))


def mistake(target, base):
  """What is wrong with a link or citation, or None."""
  name, _, anchor = target.partition("#")
  path = (base / name).resolve() if name else None
  if path is None or not path.exists():
    return f"no file {name}"
  if anchor and anchor not in slugs(path):
    return f"no heading #{anchor} in {name}; it has {sorted(slugs(path))}"
  return None


def test_slugs():
  assert slug("Z-buffer") == "z-buffer"
  assert slug("DPM-Solver++") == "dpm-solver"
  assert slug("What `alpha` is, and why") == "what-alpha-is-and-why"
  assert slug("See [the list](list.md)") == "see-the-list"


def test_mistakes_are_found(tmp_path):
  page = tmp_path / "page.md"
  page.write_text("# One\n```\n# two\n```\n## Three four\n")
  assert mistake("page.md#three-four", tmp_path) is None
  assert "no file" in mistake("other.md", tmp_path)
  assert "no heading #two" in mistake("page.md#two", tmp_path)


def test_citations():
  found, wrong = 0, []
  for path in SOURCES:
    if path == pathlib.Path(__file__):
      continue
    for match in _CITATION.findall(path.read_text()):
      found += 1
      if error := mistake(match, ROOT):
        wrong.append(f"{path.relative_to(ROOT)}: {match}: {error}")
  assert not wrong
  assert found > 80


def test_no_citation_is_cut_by_a_line_break():
  cut = [
    f"{path.relative_to(ROOT)}: {match.group()}"
    for path in SOURCES
    if path.suffix == ".py" and path != pathlib.Path(__file__)
    for match in _CUT.finditer(path.read_text())
  ]
  assert not cut


def test_every_page_of_the_method_is_reachable():
  index = ROOT / "docs" / "method" / "index.md"
  linked = {name.partition("#")[0] for name in _LINK.findall(index.read_text())}
  pages = {p.name for p in index.parent.glob("*.md")} - {index.name}
  assert pages <= linked


@pytest.mark.parametrize("path", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links(path):
  wrong = []
  for target in _LINK.findall(_FENCE.sub("", path.read_text())):
    if re.match(r"[a-z]+:", target):
      continue
    own = path.name if target.startswith("#") else ""
    if error := mistake(own + target, path.parent):
      wrong.append(f"{target}: {error}")
  assert not wrong


@pytest.mark.parametrize(
  ("heading", "page"), [("Results", "evaluation"), ("Sizes", "training")]
)
def test_tables_of_the_readme_are_those_of_the_guides(heading, page):
  section = (ROOT / "README.md").read_text().partition(f"## {heading}\n")[2]
  rows = [
    line
    for line in section.partition("\n## ")[0].splitlines()
    if line.startswith("|")
  ]
  guide = (ROOT / "docs" / f"{page}.md").read_text().splitlines()
  assert len(rows) > 5
  assert set(rows) <= set(guide)


def test_the_readme_is_short():
  assert len((ROOT / "README.md").read_text().splitlines()) <= 120


def test_sizes_are_those_of_the_networks():
  from more4d_jax.models import variants

  guide = (ROOT / "docs" / "training.md").read_text()
  for name, variant in variants.VARIANTS.items():
    clip = f"{variant.frames} x {variant.height} x {variant.width}"
    assert f"| `{name}` | {clip} |" in guide


def test_nothing_cites_what_is_not_here():
  pattern = re.compile(r"\b[Ss]pec \d|\bDESIGN\b")
  found = [
    f"{path.relative_to(ROOT)}: {match.group()}"
    for path in repo_test.TEXTS
    if path != pathlib.Path(__file__)
    for match in pattern.finditer(path.read_text())
  ]
  assert not found


def _generator():
  path = ROOT / "docs" / "make_configuration.py"
  spec = importlib.util.spec_from_file_location("make_configuration", path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


def test_the_configuration_reference_is_current():
  page = ROOT / "docs" / "configuration.md"
  assert page.read_text() == _generator().text(), (
    "run: python docs/make_configuration.py"
  )


def test_a_field_without_a_comment_is_an_error(monkeypatch):
  generator = _generator()
  monkeypatch.setattr(generator, "comments", lambda path: iter(()))
  with pytest.raises(KeyError, match="no comment beside"):
    generator.table("depth", ("nano",))


def test_comments_are_those_behind_and_before(tmp_path):
  file = tmp_path / "file.py"
  file.write_text(
    "def data():\n"
    "  section.a = 1  # Behind.\n"
    "  # Before,\n"
    "  # on two lines.\n"
    "  section.b = f(\n"
    "    2\n"
    "  )\n"
    "def get_config():\n"
    "  config.x.y = 3  # Deep.\n"
    "  config.z = 4\n"
  )
  assert dict(_generator().comments(file)) == {
    "data.a": "Behind.",
    "data.b": "Before, on two lines.",
    "x.y": "Deep.",
  }


def test_every_page_is_in_the_navigation():
  listed = re.findall(
    r"- ([\w/]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.M
  )
  docs = ROOT / "docs"
  pages = {str(path.relative_to(docs)) for path in docs.rglob("*.md")}
  assert set(listed) == pages
