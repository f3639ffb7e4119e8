"""A small server of Google Cloud Storage's JSON API on loopback.

It keeps objects in memory and knows what gcsfs, TensorStore and array_record
ask for: lists, ranges, simple, multipart and resumable uploads, copies,
deletions alone and in batches. `running` points all of them at it.

Source: https://cloud.google.com/storage/docs/json_api/v1, in its documentation.
"""

import base64
import email
import functools
import hashlib
import http.server
import importlib.util
import itertools
import json
import os
import re
import struct
import threading
import urllib.parse

import google_crc32c
import pytest

_OBJECT = re.compile(r"(?:/download)?/storage/v1/b/([^/]+)/o/([^/]+)")
_LIST = re.compile(r"/storage/v1/b/([^/]+)/o")
_COPY = re.compile(
  r"/storage/v1/b/([^/]+)/o/([^/]+)/(?:rewriteTo|copyTo)/b/([^/]+)/o/([^/]+)"
)
_MOVE = re.compile(r"/storage/v1/b/([^/]+)/o/([^/]+)/moveTo/o/([^/]+)")
_UPLOAD = re.compile(r"/upload/storage/v1/b/([^/]+)/o")


class Server(http.server.ThreadingHTTPServer):
  """Holds the objects.

  Attributes:
    objects: "bucket/name" -> bytes.
    generations: the same -> a number that grows with each write.
    refuses: whether nothing may be written.
  """

  daemon_threads = True

  def __init__(self) -> None:
    super().__init__(("127.0.0.1", 0), _Handler)
    self.objects: dict[str, bytes] = {}
    self.generations: dict[str, int] = {}
    self.refuses = False
    self.sessions: dict[str, tuple[str, dict[str, str], bytearray]] = {}
    self.lock = threading.Lock()
    self._counter = itertools.count(1)

  def handle_error(self, *_: object) -> None:
    """Says nothing of clients that hung up."""

  @property
  def url(self) -> str:
    """Where it listens."""
    return f"http://127.0.0.1:{self.server_port}"

  def environment(self) -> dict[str, str]:
    """Variables by which the libraries find it, without credentials."""
    return {
      "STORAGE_EMULATOR_HOST": self.url,
      "TENSORSTORE_GCS_HTTP_URL": self.url,
      "CLOUD_STORAGE_EMULATOR_ENDPOINT": self.url,
      "GOOGLE_CLOUD_PROJECT": "none",
      "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
    }

  def names(self, prefix: str) -> list[str]:
    """Names of the objects whose names begin so."""
    with self.lock:
      return sorted(name for name in self.objects if name.startswith(prefix))

  def put(self, name: str, value: bytes) -> None:
    """Writes an object."""
    with self.lock:
      self.objects[name] = value
      self.generations[name] = next(self._counter)

  def session(self, name: str, query: dict[str, str]) -> str:
    """Begins an upload in pieces."""
    with self.lock:
      key = str(next(self._counter))
      self.sessions[key] = (name, query, bytearray())
      return key


@functools.cache
def running() -> Server:
  """A server that this process and those it starts find, until its end.

  Skips the test where gcsfs is not installed, whose variables must be set
  before it is imported.
  """
  if importlib.util.find_spec("gcsfs") is None:
    pytest.skip("gcsfs is not installed")
  server = Server()
  threading.Thread(target=server.serve_forever, daemon=True).start()
  os.environ.update(server.environment())
  return server


class _Handler(http.server.BaseHTTPRequestHandler):
  """Answers one request after the other."""

  protocol_version = "HTTP/1.1"
  server: Server

  def log_message(self, *_: object) -> None:
    """Keeps quiet."""

  def _answer(
    self, status: int, body: bytes = b"", **headers: str | int
  ) -> None:
    self.send_response(status)
    for name, value in headers.items():
      self.send_header(name.replace("_", "-"), str(value))
    if status in (204, 304):
      body = b""  # None may follow; it would be taken for the next answer.
    self.send_header("Content-Length", str(len(body)))
    self.end_headers()
    if self.command != "HEAD":
      self.wfile.write(body)

  def _json(self, value: object, **headers: str | int) -> None:
    text = json.dumps(value).encode()
    self._answer(200, text, Content_Type="application/json", **headers)

  def _error(self, status: int, reason: str) -> None:
    value = {"error": {"code": status, "message": reason, "errors": []}}
    self._answer(
      status, json.dumps(value).encode(), Content_Type="application/json"
    )

  def _asked(self) -> tuple[str, dict[str, str]]:
    parts = urllib.parse.urlsplit(self.path)
    return parts.path, dict(urllib.parse.parse_qsl(parts.query))

  def _body(self) -> bytes:
    if "chunked" in self.headers.get("Transfer-Encoding", ""):
      found = b""
      while size := int(self.rfile.readline().split(b";")[0], 16):
        found += self.rfile.read(size)
        self.rfile.readline()
      self.rfile.readline()
      return found
    return self.rfile.read(int(self.headers.get("Content-Length", 0)))

  def _facts(self, name: str) -> dict[str, object]:
    bucket, _, key = name.partition("/")
    value = self.server.objects[name]
    generation = str(self.server.generations[name])
    time = "2026-01-01T00:00:00.000Z"
    crc = struct.pack(">I", google_crc32c.value(value))
    return {
      "kind": "storage#object",
      "id": f"{name}/{generation}",
      "name": key,
      "bucket": bucket,
      "size": str(len(value)),
      "generation": generation,
      "metageneration": "1",
      "contentType": "application/octet-stream",
      "storageClass": "STANDARD",
      "timeCreated": time,
      "updated": time,
      "etag": generation,
      "crc32c": base64.b64encode(crc).decode(),
      "md5Hash": base64.b64encode(hashlib.md5(value).digest()).decode(),
    }

  def _conditions_fail(self, name: str, query: dict[str, str]) -> bool:
    now = self.server.generations.get(name, 0)
    wanted, unwanted = (
      query.get("ifGenerationMatch"),
      query.get("ifGenerationNotMatch"),
    )
    return (wanted is not None and int(wanted) != now) or (
      unwanted is not None and int(unwanted) == now
    )

  def do_GET(self) -> None:
    path, query = self._asked()
    if match := _OBJECT.fullmatch(path):
      self._get(_name(*match.groups()), query)
    elif match := _LIST.fullmatch(path):
      self._list(match[1], query)
    elif match := re.fullmatch(r"/storage/v1/b/([^/]+)", path):
      self._json({"kind": "storage#bucket", "name": match[1], "id": match[1]})
    else:
      self._get(urllib.parse.unquote(path[1:]), {**query, "alt": "media"})

  do_HEAD = do_GET  # noqa: N815 (its name)

  def _get(self, name: str, query: dict[str, str]) -> None:
    if name not in self.server.objects:
      self._error(404, f"No such object: {name}")
    elif self._conditions_fail(name, query):
      unchanged = "ifGenerationNotMatch" in query
      self._error(304 if unchanged else 412, "conditionNotMet")
    elif query.get("alt") != "media":
      self._json(self._facts(name))
    else:
      self._media(name)

  def _media(self, name: str) -> None:
    value = self.server.objects[name]
    facts = self._facts(name)
    headers = {
      "Content_Type": "application/octet-stream",
      "x_goog_generation": facts["generation"],
      "x_goog_metageneration": "1",
      "x_goog_storage_class": "STANDARD",
      "x_goog_stored_content_length": len(value),
      "ETag": facts["etag"],
    }
    asked = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
    if not asked:
      self._answer(
        200, value, x_goog_hash=f"crc32c={facts['crc32c']}", **headers
      )
      return
    first, last = asked.groups()
    if not first:
      start, stop = max(len(value) - int(last), 0), len(value)
    else:
      start = int(first)
      stop = min(int(last) + 1, len(value)) if last else len(value)
    if start >= len(value):
      self._answer(416, b"", Content_Range=f"bytes */{len(value)}")
      return
    place = f"bytes {start}-{stop - 1}/{len(value)}"
    self._answer(206, value[start:stop], Content_Range=place, **headers)

  def _list(self, bucket: str, query: dict[str, str]) -> None:
    prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
    start, end = query.get("startOffset", ""), query.get("endOffset")
    items, folders = [], []
    for name in self.server.names(f"{bucket}/{prefix}"):
      key = name.partition("/")[2]
      if key < start or (end and key >= end):
        continue
      rest = key[len(prefix) :]
      if delimiter and delimiter in rest:
        folder = prefix + rest.partition(delimiter)[0] + delimiter
        if folder not in folders:
          folders.append(folder)
        continue
      items.append(self._facts(name))
    self._json({"kind": "storage#objects", "items": items, "prefixes": folders})

  def do_POST(self) -> None:
    path, query = self._asked()
    body = self._body()
    if match := _COPY.fullmatch(path):
      bucket, source, other, target = match.groups()
      self._copy(_name(bucket, source), _name(other, target))
    elif match := _MOVE.fullmatch(path):
      bucket, source, target = match.groups()
      self._move(_name(bucket, source), _name(bucket, target))
    elif _UPLOAD.fullmatch(path) and self.server.refuses:
      self._error(403, "does not have storage.objects.create access")
    elif match := _UPLOAD.fullmatch(path):
      self._upload(match[1], query, body)
    elif path.startswith("/batch"):
      self._batch(body)
    elif path.startswith("/upload/resumable/"):
      self._continue(path, body)
    else:
      self._error(404, path)

  def _copy(self, source: str, target: str) -> None:
    if source not in self.server.objects:
      self._error(404, f"No such object: {source}")
      return
    self.server.put(target, self.server.objects[source])
    self._json({"done": True, "resource": self._facts(target)})

  def _move(self, source: str, target: str) -> None:
    if source not in self.server.objects:
      self._error(404, f"No such object: {source}")
      return
    self.server.put(target, self.server.objects[source])
    self._delete(source)
    self._json(self._facts(target))

  def _upload(self, bucket: str, query: dict[str, str], body: bytes) -> None:
    kind = query.get("uploadType")
    if kind == "resumable":
      facts = json.loads(body) if body else {}
      name = f"{bucket}/{query.get('name') or facts['name']}"
      key = self.server.session(name, query)
      place = f"{self.server.url}/upload/resumable/{key}"
      self._json({}, Location=place)
      return
    if kind == "multipart":
      head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
      facts, media = email.message_from_bytes(head + body).get_payload()
      name = query.get("name") or json.loads(facts.get_payload())["name"]
      body = _media_of(body, self.headers["Content-Type"])
      del media
    else:
      name = query["name"]
    self._write(f"{bucket}/{name}", query, body)

  def _write(self, name: str, query: dict[str, str], value: bytes) -> None:
    if self._conditions_fail(name, query):
      self._error(412, "conditionNotMet")
      return
    self.server.put(name, value)
    self._json(self._facts(name))

  def do_PUT(self) -> None:
    self._continue(self._asked()[0], self._body())

  def _continue(self, path: str, body: bytes) -> None:
    """Takes a piece of an upload."""
    name, query, found = self.server.sessions[path.rpartition("/")[2]]
    found += body
    place = self.headers.get("Content-Range", "bytes */*")
    total = place.rpartition("/")[2]
    if total == "*" or int(total) > len(found):
      more = {"Range": f"bytes=0-{len(found) - 1}"} if found else {}
      self._answer(308, **more)
      return
    self._write(name, query, bytes(found))

  def do_DELETE(self) -> None:
    match = _OBJECT.fullmatch(self._asked()[0])
    self._answer(self._delete(_name(*match.groups())))

  def _delete(self, name: str) -> int:
    with self.server.lock:
      if name not in self.server.objects:
        return 404
      del self.server.objects[name], self.server.generations[name]
      return 204

  def _batch(self, body: bytes) -> None:
    """Deletions, each a request in a part."""
    head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
    parts = []
    for part in email.message_from_bytes(head + body).get_payload():
      line = part.get_payload().splitlines()[0]
      place = urllib.parse.urlsplit(line.split()[1]).path
      status = self._delete(_name(*_OBJECT.fullmatch(place).groups()))
      number = part["Content-ID"].strip("<>")
      parts.append(
        "--batch\r\nContent-Type: application/http\r\n"
        f"Content-ID: <response-{number}>\r\n\r\n"
        f"HTTP/1.1 {status} Done\r\n\r\n\r\n"
      )
    text = "".join(parts) + "--batch--"
    self._answer(
      200, text.encode(), Content_Type="multipart/mixed; boundary=batch"
    )


def _name(bucket: str, key: str) -> str:
  return f"{bucket}/{urllib.parse.unquote(key)}"


def _media_of(body: bytes, kind: str) -> bytes:
  """The second part of an upload, exactly as it was sent."""
  border = b"--" + re.search(r"boundary=\"?([^\";]+)", kind)[1].encode()
  part = body.split(border)[2]
  return part.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n")
