"""How fast the API answers small questions while twenty clients ask at once.

``python -m bench.api --url http://localhost:8000`` times ``/health`` and
``GET /job/{id}`` in two ways. *Closed loop*: each client asks again as soon as
it is answered, so the latency is what the server's throughput makes of twenty
callers. *Steady*: each client asks ten times a second, at even intervals that
do not wait for late answers, as pollers do; that is the load which the goals
(5 ms and 10 ms, median) are about.

Clients are raw sockets with kept-alive connections, so that the time measured
is the server's and not an HTTP library's. With ``--job`` an existing job is
polled; without it one is made of a second of silence.

What takes jobs in is measured by `bench.submissions`, whose figures come last.
"""

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import httpx

from bench import submissions
from bench.measure import Outcome
from bench.silence import silence
from clearstem.twin import twin

_CLIENTS: Final = 20
_PER_SECOND: Final = 10.0
_GOALS_MS: Final = {"/health": 5.0, "/job/{id}": 10.0}


@dataclass(frozen=True, slots=True)
class Server:
    """Where the API is, and the key for it."""

    host: str
    port: int
    key: str | None


@dataclass(frozen=True, slots=True)
class Load:
    """How the clients ask: for so many seconds, and at which rate each (0: closed loop)."""

    clients: int
    duration_s: float
    per_second: float


@dataclass(frozen=True, slots=True)
class Figures:
    """What was measured: latencies in seconds, and answers that were not 200."""

    latencies_s: list[float]
    errors: int
    elapsed_s: float

    def percentile_ms(self, percent: int) -> float:
        """A percentile of the latencies, in milliseconds."""
        return 1000 * statistics.quantiles(self.latencies_s, n=100)[percent - 1]


class _Client:
    """One kept-alive connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, server: Server) -> "_Client":
        return cls(*await asyncio.open_connection(server.host, server.port))

    async def ask(self, request: bytes) -> int:
        """Send a request, read the whole answer, and return its status."""
        self._writer.write(request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        for line in head.split(b"\r\n"):
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                await self._reader.readexactly(int(value))
        return int(head.split(b" ", 2)[1])

    def close(self) -> None:
        self._writer.close()


async def ask_all(path: str, *, server: Server, load: Load) -> Figures:
    """Ask for one path and time each answer."""
    lines = [f"GET {path} HTTP/1.1", f"Host: {server.host}:{server.port}"]
    if server.key:
        lines.append(f"x-api-key: {server.key}")
    request = ("\r\n".join(lines) + "\r\n\r\n").encode()
    clients = [await _Client.open(server) for _ in range(load.clients)]
    start = time.perf_counter()
    runs = [
        _run(client, request, load=load, start=start + index / load.clients / 10)
        for index, client in enumerate(clients)
    ]
    answers = [answer for run in await asyncio.gather(*runs) for answer in run]
    elapsed_s = time.perf_counter() - start
    for client in clients:
        client.close()
    errors = sum(status != 200 for status, _ in answers)
    return Figures([latency for _, latency in answers], errors, elapsed_s)


async def _run(
    client: _Client, request: bytes, *, load: Load, start: float
) -> list[tuple[int, float]]:
    answers = []
    due = start
    while due < start + load.duration_s:
        await _until(due)
        status = await client.ask(request)
        now = time.perf_counter()
        # From when the question was due: a stalled server is not let off the
        # questions that it kept from being asked ("coordinated omission").
        answers.append((status, now - due))
        due = due + 1 / load.per_second if load.per_second else now
    return answers


async def _until(moment: float) -> None:
    wait_s = moment - time.perf_counter()
    if wait_s > 0:
        await asyncio.sleep(wait_s)


def new_job(url: str, *, key: str | None, wait: Callable[[float], None] = time.sleep) -> str:
    """Submit a second of silence, wait until its job is over, and return the job's id."""
    headers = {"x-api-key": key} if key else {}
    with httpx.Client(base_url=url, headers=headers, timeout=60) as client:
        answer = client.post("/process", files={"file": ("silence.wav", silence())})
        answer.raise_for_status()
        job_id = str(answer.json()["job_id"])
        while client.get(f"/job/{job_id}").json()["status"] == "processing":
            wait(0.5)
    return job_id


async def figures(
    job_id: str, *, server: Server, duration_s: float
) -> dict[tuple[str, str], Figures]:
    """Both paths under both loads, by the names of path and load."""
    found = {}
    for name, path in (("/health", "/health"), ("/job/{id}", f"/job/{job_id}")):
        warm_up = Load(clients=4, duration_s=0.5, per_second=0)
        await ask_all(path, server=server, load=warm_up)
        for label, rate in (("steady 10/s", _PER_SECOND), ("closed loop", 0.0)):
            load = Load(_CLIENTS, duration_s, rate)
            found[name, label] = await ask_all(path, server=server, load=load)
    return found


def measure() -> list[Outcome]:
    """Medians over five seconds each, on a local twin of its own; then submissions, on another."""
    with tempfile.TemporaryDirectory(prefix="clearstem-bench-") as name:
        folder = Path(name)
        with twin(state=folder / "state", models=folder / "models") as url:
            job_id = new_job(url, key=None)
            found = asyncio.run(figures(job_id, server=_server(url), duration_s=5.0))
    asked = [_outcome(path, label, figure) for (path, label), figure in found.items()]
    return asked + submissions.measure()


def _outcome(name: str, label: str, figure: Figures) -> Outcome:
    if figure.errors:
        raise RuntimeError(f"{figure.errors} answers of {name} were not 200")
    median_s, goal_s = figure.percentile_ms(50) / 1000, _GOALS_MS[name] / 1000
    return Outcome(f"GET {name}, {_CLIENTS} clients, {label}", median_s, None, None, goal_s, None)


def _server(url: str, *, key: str | None = None) -> Server:
    parts = urlsplit(url)
    return Server(parts.hostname or "localhost", parts.port or 80, key)


def _print(found: dict[tuple[str, str], Figures]) -> None:
    print(f"{'':12}{'load':>14}{'p50 ms':>9}{'p95 ms':>9}{'req/s':>9}{'errors':>8}{'goal ms':>9}")
    for (name, label), figure in found.items():
        per_second = len(figure.latencies_s) / figure.elapsed_s
        print(
            f"{name:12}{label:>14}{figure.percentile_ms(50):9.2f}{figure.percentile_ms(95):9.2f}"
            f"{per_second:9.0f}{figure.errors:8d}{_GOALS_MS[name]:9.0f}"
        )


def main() -> None:
    """Print the figures of the server at ``--url``."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--url", default="http://localhost:8000")
    parser.add_argument("--key", help="API key")
    parser.add_argument("--job", help="a job's id; without it one is made")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    given = parser.parse_args()
    job_id = given.job or new_job(given.url, key=given.key)
    print(json.dumps({"url": given.url, "clients": _CLIENTS, "job": job_id}))
    server = _server(given.url, key=given.key)
    _print(asyncio.run(figures(job_id, server=server, duration_s=given.seconds)))


if __name__ == "__main__":
    main()
