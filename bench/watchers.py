"""How soon fifty watchers of one job hear of a change, by event stream and by WebSocket.

The job is a record that no stage works on: its changes are written here, at
uneven intervals, so that they fall anywhere between two looks of the server.
A delay is counted from when the write had returned to when the frame with the
new percentage was read. The goal is 300 ms for 95 of 100.
"""

import asyncio
import json
import os
import random
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import boto3
from websockets.asyncio.client import connect

from bench.measure import Outcome, note
from clearstem.facts import Engine, Location, Source
from clearstem.jobs import Job
from clearstem.options import DenoiseOptions
from clearstem.queueing import queued_job
from clearstem.recipes import DENOISE, EXTRACTION, EngineName
from clearstem.service import Service
from clearstem.settings import Settings
from clearstem.twin import running_twin, twin

_WATCHERS: Final = 50
_CHANGES: Final = 40
_GOAL_S: Final = 0.3
_PAUSE_S: Final = (0.35, 0.85)
_PATIENCE_S: Final = 180.0
# Every handshake of a WebSocket asks two functions: not all of them at once.
_OPENING: Final = 4
_OWNER: Final = "watcher"


@dataclass(slots=True)
class Times:
    """When changes were written and read, in seconds of one clock, by percentage."""

    written: dict[float, float] = field(default_factory=dict)
    read: list[tuple[float, float]] = field(default_factory=list)

    @property
    def delays_s(self) -> list[float]:
        """From each write to each reading of it; one that was read sooner counts as 0."""
        return [max(0.0, at - self.written[p]) for p, at in self.read if p in self.written]


@dataclass(frozen=True, slots=True)
class Watched:
    """A job to watch, the way to it, and a key for it."""

    service: Service
    url: str
    key: str
    job: Job


Percentages = Callable[[Watched], AsyncIterator[float]]


async def by_event_stream(watched: Watched) -> AsyncIterator[float]:
    """The percentages that one event stream tells."""
    address = urlsplit(watched.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    path = f"/api/v1/denoise/{watched.job.job_id}/progress"
    head = f"GET {path} HTTP/1.1\r\nHost: {address.netloc}\r\nx-api-key: {watched.key}\r\n\r\n"
    writer.write(head.encode())
    try:
        while line := await reader.readline():
            if line.startswith(b"data: "):
                yield float(json.loads(line[6:])["pct"])
    finally:
        writer.close()


async def by_websocket(watched: Watched) -> AsyncIterator[float]:
    """The percentages that one WebSocket tells."""
    url = watched.url.replace("http", "ws", 1)
    path = f"{url}/v1/wss/remove-noise/{watched.job.job_id}/status"
    headers = {"x-api-key": watched.key}
    async with connect(path, additional_headers=headers, open_timeout=_PATIENCE_S) as socket:
        async for frame in socket:
            yield float(json.loads(frame).get("percent", 0.0))


async def delays_s(
    watched: Watched, percentages: Percentages, *, watchers: int, changes: int
) -> list[float]:
    """Every delay of every watcher, in seconds.

    Raises
    ------
    RuntimeError
        A watcher missed a change.
    """
    times, opening = Times(), asyncio.Semaphore(_OPENING)
    begun = asyncio.Barrier(watchers + 1)
    async with asyncio.timeout(_PATIENCE_S), asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(_watch(percentages(watched), times, opening=opening, begun=begun))
            for _ in range(watchers)
        ]
        await begun.wait()
        await _write(watched, times, changes=changes)
        await _until(lambda: len(times.delays_s) >= watchers * changes)
        for task in tasks:
            task.cancel()
    if len(times.delays_s) != watchers * changes:
        raise RuntimeError(f"{watchers * changes - len(times.delays_s)} frames did not come")
    return times.delays_s


async def _watch(
    told: AsyncIterator[float],
    times: Times,
    *,
    opening: asyncio.Semaphore,
    begun: asyncio.Barrier,
) -> None:
    async with opening:
        await anext(told)
    await begun.wait()
    async for percent in told:
        times.read.append((percent, time.perf_counter()))


async def _write(watched: Watched, times: Times, *, changes: int) -> None:
    for n in range(1, changes + 1):
        await asyncio.sleep(random.uniform(*_PAUSE_S))
        job = await asyncio.to_thread(_advance, watched, n / changes)
        times.written[job.percent] = time.perf_counter()


def _advance(watched: Watched, fraction: float) -> Job:
    at = watched.service.now()
    return watched.service.jobs.change(
        watched.job.job_id,
        lambda j: j.start_stage(EXTRACTION, at=at).advance(EXTRACTION, fraction=fraction, at=at),
    )


async def _until(condition: Callable[[], bool], *, patience_s: float = 5.0) -> None:
    end = time.perf_counter() + patience_s
    while not condition() and time.perf_counter() < end:
        await asyncio.sleep(0.05)


def new_job(service: Service, *, owner: str) -> Job:
    """The record of a noise reduction that nobody works on."""
    job_id = service.new_id()
    nowhere = Location(service.settings.uploads_bucket, "nowhere")
    return service.jobs.create(
        queued_job(
            job_id=job_id,
            owner=owner,
            recipe=DENOISE,
            source=Source(nowhere, "talk.wav", "wav", 1),
            destination=nowhere,
            options=DenoiseOptions(),
            engine=Engine(EngineName.SPECTRAL, "none", None, preview=False, reason="a benchmark"),
            at=service.now(),
        )
    )


def measure() -> list[Outcome]:
    """The 95th percentile of both ways, on a local twin of its own."""
    with tempfile.TemporaryDirectory(prefix="clearstem-bench-") as name:
        folder = Path(name)
        with twin(state=folder / "state", models=folder / "models") as url:
            environment = running_twin(folder / "state").environment
            os.environ.update(environment)
            service = Service.over(Settings.from_env(environment), session=boto3.Session())
            key, _ = service.accounts.create_key(_OWNER, at=service.now())

            def watched() -> Watched:
                return Watched(service, url, key, new_job(service, owner=_OWNER))

            return asyncio.run(_both(watched))


async def _both(watched: Callable[[], Watched]) -> list[Outcome]:
    ways: Sequence[tuple[str, Percentages]] = (
        ("event stream", by_event_stream),
        ("WebSocket", by_websocket),
    )
    return [await _outcome(name, way, watched()) for name, way in ways]


async def _outcome(name: str, way: Percentages, watched: Watched) -> Outcome:
    found = await delays_s(watched, way, watchers=_WATCHERS, changes=_CHANGES)
    cuts = statistics.quantiles(found, n=100)
    note(
        f"{name}: median {1000 * cuts[49]:.0f} ms, p95 {1000 * cuts[94]:.0f} ms, "
        f"most {1000 * max(found):.0f} ms of {len(found)}"
    )
    return Outcome(f"{name}, {_WATCHERS} watchers, p95", cuts[94], None, None, _GOAL_S, None)
