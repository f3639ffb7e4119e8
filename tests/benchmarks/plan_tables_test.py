"""The page of plans is that of the lines, and the command continues."""

import json

from benchmarks import plan_tables


def test_the_page_holds_the_tables_of_the_lines():
  lines = plan_tables.read(plan_tables.LINES)
  assert set(lines) <= {row.arguments for row in plan_tables.ROWS}
  page = plan_tables.LINES.with_suffix(".md").read_text()
  words = " ".join(page.split())
  for part in plan_tables.tables(lines).split("\n\n"):
    assert " ".join(part.split()) in words


def test_what_does_not_fit_or_ends_is_said():
  first, second = plan_tables.ROWS[:2]
  gib = 2**30
  refused = {
    "processor_seconds": 7,
    "refused": 27 * gib,
    "memory": 16 * gib,
    "held": {"parameters": 5 * gib},
  }
  ended = {"processor_seconds": 900, "error": "ended with -24: "}
  found = plan_tables.tables(
    {first.arguments: refused, second.arguments: ended}
  ).splitlines()
  assert found[2].endswith(
    "| 5.00 |  |  | 27.00 | 16.00 | does not fit |  |  | 7 |"
  )
  assert "| ended with -24:  | " in found[3] and found[3].endswith("| 900 |")
  assert found[2].count("|") == found[3].count("|") == found[0].count("|")


def test_rows_that_are_there_are_left_out(tmp_path, monkeypatch):
  path, measured = tmp_path / "lines.jsonl", []

  def measure(row, limit):
    measured.append(row.arguments)
    return {"arguments": row.arguments}

  monkeypatch.setattr(plan_tables, "measure", measure)
  wanted = [r.arguments for r in plan_tables.ROWS if "v5e-8" in r.arguments]
  path.write_text(json.dumps({"arguments": wanted[1]}) + "\n")
  for _ in range(2):
    plan_tables.run("v5e-8", 1, path)
  assert measured == [wanted[0], *wanted[2:]]
  assert set(plan_tables.read(path)) == set(wanted)
