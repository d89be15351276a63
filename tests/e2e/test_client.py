"""Both clients through a job's whole life, against a running twin."""

import asyncio
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from clearstem.client import AsyncClient, Client, NotFound, Way, is_final
from clearstem.recipes import SEPARATE
from tests.twin import Twin


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def digests(job: Mapping[str, Any]) -> dict[str, str]:
    return {track["name"]: track["sha256"] for track in job["tracks"]}


def test_a_song_is_sent_watched_fetched_and_deleted(
    local_twin: Twin, finished_job: dict[str, Any], song_file: Path, tmp_path: Path
) -> None:
    with Client(local_twin.url, state_dir=tmp_path / "state") as client:
        upload_id = client.upload(song_file)
        quote = client.quote(upload_id)
        assert (quote["dry_run"], quote["engine"]["name"]) == (True, "spectral")
        job = client.submit(
            upload_id, options={"cache": False}, labels={"way": "sync"}, retention_hours=24
        )
        watch = client.watch(job["job_id"])
        states = list(watch)
        assert (watch.way, watch.fallbacks) == (Way.WEBSOCKET, [])
        assert [is_final(state) for state in states] == [False] * (len(states) - 1) + [True]
        done = states[-1]
        assert done["status"] == "completed", done["error"]
        assert client.job(job["job_id"]) == done
        assert [each["job_id"] for each in client.jobs(labels={"way": "sync"})] == [job["job_id"]]
        types = [event["type"] for event in client.events(job["job_id"])]
        assert (types[0], types[-1]) == ("job.queued", "job.succeeded")
        files = client.download_all(done, tmp_path / "out")
        assert digests(done) == {track: sha256(path) for track, path in files.items()}
        assert set(files) == set(SEPARATE.tracks)
        # The same song, engine and options: the same bytes.
        assert digests(done) == digests(finished_job)
        receipt = client.delete(job["job_id"])
        assert receipt["files"] > len(files)
        assert client.delete(job["job_id"]) == receipt
        with pytest.raises(NotFound):
            client.job(job["job_id"])


def test_many_recordings_go_through_one_asynchronous_client(
    local_twin: Twin, song_file: Path, tmp_path: Path
) -> None:
    async def through(client: AsyncClient, index: int) -> None:
        upload_id = await client.upload(song_file, recipe="denoise")
        job = await client.submit(
            upload_id, recipe="denoise", options={"format": "flac", "cache": False}
        )
        watch = client.watch(job["job_id"])
        states = [state async for state in watch]
        assert (watch.way, states[-1]["status"]) == (Way.WEBSOCKET, "completed"), states[-1]
        to = tmp_path / f"{index}.flac"
        await client.download(states[-1], "clean", to=to)
        assert sha256(to) == states[-1]["tracks"][0]["sha256"]
        await client.delete(job["job_id"])
        assert [each async for each in client.jobs() if each["job_id"] == job["job_id"]] == []

    async def both() -> None:
        async with AsyncClient(local_twin.url, state_dir=tmp_path / "state") as client:
            await asyncio.gather(through(client, 1), through(client, 2))

    asyncio.run(both())
    assert (tmp_path / "1.flac").read_bytes() == (tmp_path / "2.flac").read_bytes()


def test_a_cancelled_job_ends_its_watch(local_twin: Twin, song_file: Path) -> None:
    with Client(local_twin.url) as client:
        job = client.separate(song_file, {"cache": False})
        watch = client.watch(job["job_id"])
        assert next(watch)["status"] == "processing"
        client.cancel(job["job_id"])
        *_, last = watch
        assert last["error"] is not None and last["error"]["name"] == "Clearstem.Cancelled"
