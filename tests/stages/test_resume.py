"""A separation that is killed goes on where it was, and nobody hears it."""

import hashlib
import json
import multiprocessing
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clearstem.facts import Engine, Location
from clearstem.recipes import SEPARATION, EngineName
from clearstem.service import Service
from clearstem.settings import Settings
from containers.audio import card
from containers.audio.backends import Settled
from containers.audio.demucs_engine import Making, demucs_stems
from containers.audio.network import Network
from containers.audio.overlap import Floats, Segments, Stream, each
from containers.checksums import sha256_of
from containers.stages import separation
from containers.stages.resume import MOST_REDONE_S, RestartPoints, blocks_in_group
from containers.workspace import Workspace
from tests.recipes import submitted, with_models
from tests.stages.memory import EndlessNoise, noise
from tests.stages.test_stages import own_model, wav
from tests.unit.examples import a_job

# A twentieth of the real rate with segments of the real 7.8 s: everything but the arithmetic.
RATE_HZ = 2_205
SEGMENTS = Segments(17_199)
SECONDS = 240.0


@dataclass
class FolderStore:
    """Objects as files of a folder: what of `TrackStore` restart points ask for."""

    folder: Path

    def _path(self, location: Location) -> Path:
        return self.folder / location.key.replace("/", "_")

    def size_bytes(self, location: Location) -> int | None:
        path = self._path(location)
        return path.stat().st_size if path.exists() else None

    def fetch(self, location: Location, *, to: Path) -> None:
        to.write_bytes(self._path(location).read_bytes())

    def put_file(self, path: Path, *, to: Location, content_type: str) -> None:
        self._path(to).write_bytes(path.read_bytes())

    def read_text(self, location: Location) -> str | None:
        path = self._path(location)
        return path.read_text() if path.exists() else None

    def write_text(self, text: str, *, to: Location, content_type: str) -> None:
        partial = self.folder / "partial"
        partial.write_text(text)
        partial.replace(self._path(to))


@dataclass
class Counted:
    """A network that remembers what it was asked, and may kill its process when asked."""

    kill_at: int | None = None
    end_at: int | None = None
    calls: int = 0

    def __call__(self, block: Any) -> Any:
        self.calls += 1
        if self.calls == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.calls == self.end_at:
            raise InterruptedError
        return np.stack([np.tanh(block * np.float32(gain)) for gain in (0.3, 0.7, 1.1, 1.9)])


def on_card(forward: Any, *, batch: int) -> Stream:
    """Segments in batches as a card runs them: the next is started before the last is awaited."""

    def start(stacked: Floats) -> card.Collect:
        answers = np.stack([forward(segment) for segment in stacked])
        return lambda: answers

    return lambda segments: card.overlapped(card.batches(segments, lambda: batch), start)


def network(forward: Any, *, segments: Segments = SEGMENTS, rate_hz: int = RATE_HZ) -> Network:
    stems = ("drums", "bass", "other", "vocals")
    return Network(stems, rate_hz, segments, lambda _: segments.length, (each(forward),))


def digest(
    folder: Path, *, kill_at: int | None = None, rate_hz: int = RATE_HZ, made_of: str = "net"
) -> tuple[str, int]:
    """sha256 over all stems of a made-up recording, and how many segments were run."""
    scratch = folder / "scratch"
    scratch.mkdir(parents=True, exist_ok=True)
    store: Any = FolderStore(folder)
    space = Workspace(
        a_job(), SEPARATION, store, Settings("t", "u", "w", "k", "d"), scratch, versions={}
    )
    forward = Counted(kill_at)
    total = hashlib.sha256()
    source = EndlessNoise(seconds=SECONDS, rate_hz=rate_hz)
    keep = RestartPoints(space, (made_of,))
    for block in demucs_stems(source, network(forward), keep=keep):
        total.update(block.tobytes())
    return total.hexdigest(), forward.calls


# Processes that are to be killed are forks of one that has imported everything.
_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload([__name__])


def kill(folder: Path, at: int, rate_hz: int) -> None:
    options = {"kill_at": at, "rate_hz": rate_hz}
    process = _PROCESSES.Process(target=digest, args=(folder,), kwargs=options)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL


Whole = Callable[[int], tuple[str, int]]


@pytest.fixture(scope="module")
def whole_at(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """What an undisturbed run makes at a rate, and of how many segments."""

    @cache
    def made(rate_hz: int) -> tuple[str, int]:
        return digest(tmp_path_factory.mktemp("whole"), rate_hz=rate_hz)

    return made


# Segments of 5.85 s: within the first group, as it ends, in the middle, at the very last.
@pytest.mark.parametrize(
    ("at", "rate_hz"), [(2, RATE_HZ), (5, RATE_HZ), (22, RATE_HZ), (42, RATE_HZ), (22, 3_000)]
)
def test_a_killed_run_continues_to_the_same_bits(
    whole_at: Whole, tmp_path: Path, at: int, rate_hz: int
) -> None:
    whole, segments = whole_at(rate_hz)
    kill(tmp_path / "killed", at, rate_hz)
    again, run_again = digest(tmp_path / "killed", rate_hz=rate_hz)
    assert again == whole
    redone_s = (at - 1 + run_again - segments) * SEGMENTS.stride / RATE_HZ
    overlap_s = (SEGMENTS.length - SEGMENTS.stride) / RATE_HZ
    assert redone_s + overlap_s <= MOST_REDONE_S
    assert run_again < segments or at <= 9


@pytest.mark.parametrize("at", [17, 41])
def test_what_a_card_was_ahead_is_within_the_bound(tmp_path: Path, at: int) -> None:
    batch = card.most_in_batch(SEGMENTS, rate_hz=RATE_HZ)
    store: Any = FolderStore(tmp_path)
    space = Workspace(
        a_job(), SEPARATION, store, Settings("t", "u", "w", "k", "d"), tmp_path, versions={}
    )

    def run(*, end_at: int | None) -> tuple[str, Counted]:
        forward = Counted(end_at=end_at)
        loaded = replace(
            network(forward), forwards=(on_card(forward, batch=batch),), ahead=2 * batch
        )
        source = EndlessNoise(seconds=SECONDS, rate_hz=RATE_HZ)
        total = hashlib.sha256()
        for block in demucs_stems(source, loaded, keep=RestartPoints(space, ("net",))):
            total.update(block.tobytes())
        return total.hexdigest(), forward

    with pytest.raises(InterruptedError):
        run(end_at=at)
    resumed, again = run(end_at=None)
    (tmp_path / f"jobs_{space.job.job_id}_{SEPARATION}_progress.json").unlink()
    whole, once = run(end_at=None)
    assert resumed == whole
    redone_s = (at + again.calls - once.calls) * SEGMENTS.stride / RATE_HZ
    assert redone_s + (SEGMENTS.length - SEGMENTS.stride) / RATE_HZ <= MOST_REDONE_S
    assert again.calls < once.calls


def test_several_kills_add_up_to_one_run(whole_at: Whole, tmp_path: Path) -> None:
    whole, segments = whole_at(RATE_HZ)
    kills = (15, 12, 9)
    for at in kills:
        kill(tmp_path / "killed", at, RATE_HZ)
    again, run_again = digest(tmp_path / "killed")
    assert again == whole
    # Each loses at most the group on its way to the store, the one being made, and one segment
    # that sounds on: which of them is up to how far the store's thread has come.
    most_lost = 2 * blocks_in_group(Making(("a",), RATE_HZ, SEGMENTS)) + SEGMENTS.reach
    run = sum(at - 1 for at in kills) + run_again
    assert run <= segments + len(kills) * most_lost < sum(at - 1 for at in kills) + segments


@pytest.mark.parametrize("harm", ["gone", "damaged"])
def test_what_is_not_as_it_was_written_is_made_again(tmp_path: Path, harm: str) -> None:
    whole, segments = digest(tmp_path)
    (third,) = tmp_path.glob("*stems-0002.wav")
    if harm == "gone":
        third.unlink()
    else:
        third.write_bytes(third.read_bytes()[:-4] + b"\0\0\1\0")
    again, run_again = digest(tmp_path)
    assert again == whole
    # Two groups of four are good, and one segment before them sounds on.
    assert run_again == segments - 8 + 1


def test_blocks_of_another_making_are_left_alone(tmp_path: Path) -> None:
    _, segments = digest(tmp_path)
    assert digest(tmp_path, made_of="other weights")[1] == segments


@pytest.mark.parametrize("seconds", [1.0, 7.8, 10.0, 14.0])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_group_is_short_enough_for_what_may_be_lost(seconds: float, device: str) -> None:
    segments = Segments(round(seconds * 44_100))
    ahead = 2 * card.most_in_batch(segments, rate_hz=44_100) if device == "cuda" else 1
    size = blocks_in_group(Making(("a",), 44_100, segments, ahead))
    # The group on its way, the one being made, what the network is ahead of that, and what
    # sounds into the next block.
    blocks = size + (size - 1) + ahead + segments.reach
    lost = blocks * segments.stride + segments.length - segments.stride
    assert lost / 44_100 <= MOST_REDONE_S


def test_the_stage_itself_goes_on_where_it_was(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_model(tmp_path / "models")
    equipped = with_models(service, tmp_path / "models")
    job = submitted(equipped, wav(tmp_path / "song.wav", noise(2, 240 * 8_000), 8_000))
    promised = Engine(EngineName.DEMUCS, "tiny", "0" * 64, preview=False, reason="for this test")
    job = replace(job, engine=promised)

    def run(name: str, *, fail_at: float) -> tuple[dict[str, str], int]:
        forward = Counted()
        loaded = network(forward, segments=Segments(62_400), rate_hz=8_000)
        settled = Settled("cpu", "torch", "fp32")
        monkeypatch.setattr("containers.audio.backends.load_network", lambda *_: (loaded, settled))

        def progress(done: int, total: int) -> None:
            if done / total > fail_at:
                raise InterruptedError

        (tmp_path / name).mkdir()
        space = Workspace(
            job, SEPARATION, equipped.store, equipped.settings, tmp_path / name, versions={}
        )
        separation.run(space, progress)
        stems = ("vocals", "drums", "bass", "other")
        return {stem: sha256_of(tmp_path / name / f"{stem}.wav") for stem in stems}, forward.calls

    with pytest.raises(InterruptedError):
        run("interrupted", fail_at=0.7)
    resumed, few = run("resumed", fail_at=2)
    key = f"jobs/{job.job_id}/{SEPARATION}/progress.json"
    where = Location(equipped.settings.work_bucket, key)
    assert len(json.loads(equipped.store.read_text(where) or "")["groups"]) == 10
    equipped.store.write_text('{"identity": ""}', to=where, content_type="application/json")
    whole, all_of_it = run("whole", fail_at=2)
    assert resumed == whole
    assert few < all_of_it / 2
