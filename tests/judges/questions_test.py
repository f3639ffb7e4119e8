"""The five questions, put to a small server on loopback."""

import base64
import http.server
import io
import json
import threading

import numpy as np
import PIL.Image
import pytest

from more4d_jax.cli import main
from more4d_jax.judges import questions
from tests.judges import films_test

_KEY = "a key of tests"
_MARKS = {
  "geometry": 4,
  "texture": 3,
  "identity": 5,
  "coupling": 2,
  "background": 5,
}


class _Handler(http.server.BaseHTTPRequestHandler):
  """Checks key and path as a server does, then says what it was told to."""

  def do_POST(self):
    """Answers one request."""
    body = self.rfile.read(int(self.headers["Content-Length"]))
    if self.headers["Authorization"] != f"Bearer {_KEY}":
      return self._answer(401, {"error": {"message": "Incorrect API key"}})
    if self.path != "/v1/chat/completions":
      return self._answer(404, {"error": {"message": "no such path"}})
    self.server.requests.append(json.loads(body))
    message = {"role": "assistant", "content": self.server.says}
    return self._answer(200, {"choices": [{"message": message}]})

  def _answer(self, status, value):
    data = json.dumps(value).encode()
    self.send_response(status)
    self.send_header("Content-Length", str(len(data)))
    self.end_headers()
    self.wfile.write(data)

  def log_message(self, *_):
    """Prints nothing."""


@pytest.fixture
def server():
  with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as made:
    made.requests = []
    made.says = f"Here it is:\n```json\n{json.dumps(_MARKS)}\n```"
    thread = threading.Thread(target=made.serve_forever)
    thread.start()
    yield made
    made.shutdown()
    thread.join()


def _run(tmp_path, monkeypatch, address, key=_KEY):
  monkeypatch.setenv("TEST_KEY", key)
  return main.main(
    [
      "score", "vlm", "--results", str(tmp_path / "made"), "--endpoint",
      address, "--model", "a-model", "--out", str(tmp_path / "marks.json"),
      "--key-variable", "TEST_KEY",
    ]
  )  # fmt: skip


def _address(server, path="/v1"):
  return f"http://127.0.0.1:{server.server_port}{path}"


def test_films_are_asked_about_once(tmp_path, monkeypatch, server, capsys):
  films_test.make_scene(tmp_path / "made", "a red ball rolls", frames=17)
  assert _run(tmp_path, monkeypatch, _address(server)) == 0
  report = json.loads((tmp_path / "marks.json").read_text())
  assert report["mean"] == pytest.approx(3.8) and len(report["films"]) == 2
  assert report["films"]["made_static"]["marks"] == _MARKS
  assert "3.80 (I)" in capsys.readouterr().out
  request = server.requests[0]
  (message,) = request["messages"]
  words, *pictures = message["content"]
  assert request["model"] == "a-model" and "a red ball" in words["text"]
  assert all(q in words["text"] for q in questions.QUESTIONS.values())
  levels = []
  for picture in pictures:
    head, data = picture["image_url"]["url"].split(",")
    assert head == "data:image/jpeg;base64"
    shown = PIL.Image.open(io.BytesIO(base64.b64decode(data)))
    levels.append(float(np.asarray(shown).mean()))
  # Eight of 17 frames, from the first to the last at even distances.
  np.testing.assert_allclose(levels, np.linspace(20, 220, 8), atol=8)
  assert _run(tmp_path, monkeypatch, _address(server)) == 0
  assert len(server.requests) == 2


@pytest.mark.parametrize(
  ("says", "words"),
  [
    ("I cannot judge films.", "expected a mark of 1 to 5"),
    (json.dumps(_MARKS | {"texture": 6}), "none for texture"),
    (json.dumps(_MARKS | {"texture": True}), "none for texture"),
    (json.dumps({"geometry": 3}), "none for texture, identity"),
  ],
)
def test_bad_answers(tmp_path, monkeypatch, server, capsys, says, words):
  films_test.make_scene(tmp_path / "made")
  server.says = says
  assert _run(tmp_path, monkeypatch, _address(server)) == 2
  err = capsys.readouterr().err
  assert err.startswith("error: ") and words in err and err.count("\n") == 1
  assert not (tmp_path / "marks.json").exists()


@pytest.mark.parametrize(
  ("path", "key", "words"),
  [
    ("/v1", "another", "TEST_KEY|key-variable"),
    ("/v1", "", "--key-variable"),
    ("/v2", _KEY, "404"),
  ],
)
def test_refusals(tmp_path, monkeypatch, server, capsys, path, key, words):
  films_test.make_scene(tmp_path / "made")
  assert _run(tmp_path, monkeypatch, _address(server, path), key) == 2
  err = capsys.readouterr().err
  assert err.startswith("error: ") and err.count("\n") == 1
  assert any(word in err for word in words.split("|"))


def test_a_server_that_is_not_there(tmp_path, monkeypatch, server, capsys):
  films_test.make_scene(tmp_path / "made")
  address = _address(server)
  server.server_close()  # Its port refuses from now on.
  assert _run(tmp_path, monkeypatch, address) == 2
  err = capsys.readouterr().err
  assert "cannot reach http://127.0.0.1" in err and err.count("\n") == 1
  assert _run(tmp_path, monkeypatch, "127.0.0.1:80") == 2
  assert "--endpoint such as" in capsys.readouterr().err


def test_an_answer_of_another_kind(tmp_path, monkeypatch, capsys):
  class Page(_Handler):
    """A server that answers with a page."""

    def do_POST(self):
      """Answers anything."""
      self.rfile.read(int(self.headers["Content-Length"]))
      self._answer(200, "<html>")

  films_test.make_scene(tmp_path / "made")
  with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as made:
    thread = threading.Thread(target=made.serve_forever)
    thread.start()
    status = _run(tmp_path, monkeypatch, _address(made))
    made.shutdown()
    thread.join()
  assert status == 2
  assert "chat completions" in capsys.readouterr().err
