"""A user's own file server: recordings are fetched from it, and results put to it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

from clearstem import media


@dataclass(frozen=True)
class Put:
    """A file that was put there."""

    headers: dict[str, str]
    body: bytes


@dataclass
class Neighbour:
    """The server: its address, what lies there and what was put there, by path."""

    address: str
    folder: Path
    puts: dict[str, Put] = field(default_factory=dict)

    def url(self, name: str) -> str:
        return f"{self.address}/{name}"


@contextmanager
def neighbour(folder: Path) -> Iterator[Neighbour]:
    """Serve a folder on a free port of the loopback."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    known = Neighbour(f"http://127.0.0.1:{server.server_port}", folder)
    server.known = known  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield known
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = self._known.folder / Path(self._path).name
        if not path.is_file():
            self._answer(404)
            return
        self._answer(200, path.read_bytes(), media.content_type(path.suffix.removeprefix(".")))

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self._known.puts[self._path] = Put(headers, body)
        self._answer(200)

    def log_message(self, *_: object) -> None:
        pass

    @property
    def _known(self) -> Neighbour:
        return self.server.known  # type: ignore[attr-defined]

    @property
    def _path(self) -> str:
        return unquote(urlsplit(self.path).path).lstrip("/")

    def _answer(self, status: int, body: bytes = b"", content_type: str = "text/plain") -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
