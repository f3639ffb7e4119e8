"""Progress on a terminal and in a log."""

import io

from more4d_jax.cli import progress


class _Terminal(io.StringIO):
  def isatty(self):
    return True


def test_a_log_gets_a_line_from_time_to_time():
  now, stream = [0.0], io.StringIO()
  show = progress.Progress(stream, every=30.0, clock=lambda: now[0])
  for done in range(11):
    show("trajectories", done, 10)
    now[0] += 20
  show("decoding", 0, 1)
  show("decoding", 1, 1)  # Too short to be told of.
  assert stream.getvalue().splitlines() == [
    "first step after 20.0 s",
    "trajectories: 2 of 10, 3 min left",
    "trajectories: 4 of 10, 2 min left",
    "trajectories: 6 of 10, 1 min left",
    "trajectories: 8 of 10, 40 s left",
  ]


def test_hours_and_a_stage_without_a_first_step():
  now, stream = [0.0], io.StringIO()
  show = progress.Progress(stream, every=30.0, clock=lambda: now[0])
  show("views", 0, 100)
  now[0] = 31
  show("views", 0, 100)  # Begins anew: nothing is known of its speed.
  now[0] = 71
  show("views", 1, 100)
  assert stream.getvalue() == "first step after 71.0 s\n"
  now[0] = 111
  show("views", 2, 100)
  assert stream.getvalue().endswith("\nviews: 2 of 100, 1 h 5 min left\n")


def test_a_terminal_gets_a_bar_for_each_stage():
  stream = _Terminal()
  show = progress.Progress(stream)
  for what in ("text", "trajectories"):
    for done in range(3):
      show(what, done, 2)
  show("views", 1, 4)
  show.close()
  written = stream.getvalue()
  for part in ("text:   0%", "trajectories:   0%", "views:"):
    assert part in written
  assert "\n" not in written  # Each bar takes its own line back.
