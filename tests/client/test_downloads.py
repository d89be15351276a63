"""Tracks that appear when they are whole and right, whatever happens on the way."""

import re
import resource
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from clearstem.client import DamagedDownload, NotFound, UnexpectedAnswer, Unreachable
from tests.client.documents import JOB_ID, completed
from tests.client.driven import QUICK, Driven
from tests.client.scripted import Asked, Says, Scripted, scripted

VOCALS = bytes(range(256)) * 2000
JOB = completed(vocals=VOCALS, drums=b"drums")
PATH = f"/download/{JOB_ID}/vocals.wav"
HALF = len(VOCALS) // 2
CUT = Says(200, VOCALS, cut_after=HALF)


def ranged(asked: Asked) -> Says:
    """What the range asked for selects."""
    first = int(re.fullmatch(r"bytes=(\d+)-", asked.headers["range"])[1])  # type: ignore[index]
    told = {"content-range": f"bytes {first}-{len(VOCALS) - 1}/{len(VOCALS)}"}
    return Says(206, VOCALS[first:], told)


def ranges(server: Scripted) -> list[str | None]:
    return [asked.headers.get("range") for asked in server.of("GET", PATH)]


def test_a_download_that_breaks_goes_on_where_it_broke(
    client: Driven, server: Scripted, tmp_path: Path
) -> None:
    server.on("GET", PATH, CUT, ranged)
    client.call(server.url, "download", JOB, "vocals", to=tmp_path / "vocals.wav")
    assert (tmp_path / "vocals.wav").read_bytes() == VOCALS
    assert ranges(server) == [None, f"bytes={HALF}-"]
    assert [path.name for path in tmp_path.glob("*vocals*")] + [
        path.name for path in tmp_path.glob(".*")
    ] == ["vocals.wav"]


def test_files_and_folders_may_be_named_by_text(
    client: Driven, server: Scripted, tmp_path: Path
) -> None:
    server.on("GET", PATH, Says(200, VOCALS))
    to, folder = tmp_path / "vocals.wav", tmp_path / "made" / "for it"
    client.call(server.url, "download", JOB, "vocals", to=str(to))
    files = client.call(server.url, "download_all", JOB, str(folder), tracks=["vocals"])
    assert files == {"vocals": folder / "vocals.wav"}
    assert to.read_bytes() == files["vocals"].read_bytes() == VOCALS


def test_a_later_run_goes_on_with_what_is_there(
    client: Driven, server: Scripted, tmp_path: Path
) -> None:
    server.on("GET", PATH, CUT, Says(404, {"detail": "gone for a while"}), ranged)
    to = tmp_path / "vocals.wav"
    with pytest.raises(NotFound):
        client.call(server.url, "download", JOB, "vocals", to=to)
    assert not to.exists()
    client.call(server.url, "download", JOB, "vocals", to=to)
    assert to.read_bytes() == VOCALS
    assert ranges(server) == [None, *[f"bytes={HALF}-"] * 2]


def test_a_server_that_knows_no_ranges_sends_it_from_the_start(
    client: Driven, server: Scripted, tmp_path: Path
) -> None:
    server.on("GET", PATH, CUT, Says(200, VOCALS))
    client.call(server.url, "download", JOB, "vocals", to=tmp_path / "vocals.wav")
    assert (tmp_path / "vocals.wav").read_bytes() == VOCALS
    assert len(ranges(server)) == 2


def test_a_line_that_never_lasts_is_given_up_and_what_came_is_kept(
    client: Driven, server: Scripted, tmp_path: Path
) -> None:
    server.on("GET", PATH, CUT, lambda asked: replace(ranged(asked), cut_after=0))
    with pytest.raises(Unreachable):
        client.call(server.url, "download", JOB, "vocals", to=tmp_path / "vocals.wav")
    assert len(ranges(server)) == 1 + QUICK.attempts - 1
    assert not (tmp_path / "vocals.wav").exists()
    kept = [path for path in tmp_path.iterdir() if path.name.startswith(".vocals")]
    assert [path.read_bytes() for path in kept] == [VOCALS[:HALF]]


def test_a_part_that_does_not_say_where_it_begins_is_not_put_behind_another(
    client: Driven, server: Scripted, tmp_path: Path
) -> None:
    server.on("GET", PATH, CUT, Says(206, VOCALS))
    client.call(server.url, "download", JOB, "vocals", to=tmp_path / "vocals.wav")
    assert (tmp_path / "vocals.wav").read_bytes() == VOCALS
    assert len(ranges(server)) == 2


@pytest.mark.parametrize(
    "content", [VOCALS[:-1] + b"?", VOCALS + b"?", VOCALS[:-1], b""], ids=lambda c: str(len(c))
)
def test_other_bytes_than_the_jobs_never_appear(
    client: Driven, server: Scripted, tmp_path: Path, content: bytes
) -> None:
    server.on("GET", PATH, Says(200, content))
    to = tmp_path / "vocals.wav"
    to.write_bytes(b"from before")
    with pytest.raises(DamagedDownload, match="vocals"):
        client.call(server.url, "download", JOB, "vocals", to=to)
    assert to.read_bytes() == b"from before"
    assert not list(tmp_path.glob(".vocals*"))


def test_leftovers_that_are_wrong_are_fetched_anew(
    client: Driven, server: Scripted, tmp_path: Path
) -> None:
    sha256 = JOB["tracks"][0]["sha256"]
    (tmp_path / f".vocals.wav.{sha256[:16]}.partial").write_bytes(b"something else")
    server.on("GET", PATH, ranged, Says(200, VOCALS))
    client.call(server.url, "download", JOB, "vocals", to=tmp_path / "vocals.wav")
    assert (tmp_path / "vocals.wav").read_bytes() == VOCALS
    assert ranges(server) == ["bytes=14-", None]


def test_the_key_is_not_told_to_the_storage_that_a_download_leads_to(
    client: Driven, server: Scripted, tmp_path: Path
) -> None:
    with scripted() as storage:
        link = f"{storage.url}/bucket/vocals?signature=1"
        server.on("GET", PATH, Says(307, headers={"location": link}))
        storage.on("GET", "/bucket/vocals", CUT, ranged)
        to = tmp_path / "vocals.wav"
        client.call(server.url, "download", JOB, "vocals", to=to, key="cs_secret")
        assert to.read_bytes() == VOCALS
        sent = storage.asked
        assert [asked.headers.get("range") for asked in sent] == [None, f"bytes={HALF}-"]
        assert not any("x-api-key" in asked.headers for asked in sent)
        assert {asked.query for asked in sent} == {"signature=1"}
    assert {asked.headers["x-api-key"] for asked in server.asked} == {"cs_secret"}


@pytest.mark.parametrize("location", ["ftp://host/vocals", "http://[/vocals", PATH])
def test_a_redirect_to_nowhere_is_told_and_not_followed_for_ever(
    client: Driven, server: Scripted, tmp_path: Path, location: str
) -> None:
    server.on("GET", PATH, Says(307, headers={"location": location}))
    with pytest.raises(UnexpectedAnswer):
        client.call(server.url, "download", JOB, "vocals", to=tmp_path / "vocals.wav")
    assert len(server.asked) <= 6


def test_all_tracks_come_under_their_names(
    client: Driven, server: Scripted, tmp_path: Path
) -> None:
    server.on("GET", PATH, Says(200, VOCALS))
    server.on("GET", f"/download/{JOB_ID}/drums.wav", Says(200, b"drums"))
    files = client.call(server.url, "download_all", JOB, tmp_path / "out")
    assert {track: path.read_bytes() for track, path in files.items()} == {
        "vocals": VOCALS,
        "drums": b"drums",
    }
    assert files["drums"] == tmp_path / "out" / "drums.wav"


def test_of_several_tracks_none_is_fetched_where_one_is_not_there(
    client: Driven, server: Scripted, tmp_path: Path
) -> None:
    server.on("GET", f"/download/{JOB_ID}/drums.wav", Says(200, b"drums"))
    to = tmp_path / "out"
    with pytest.raises(NotFound, match="'bass'; it has: vocals, drums"):
        client.call(server.url, "download_all", JOB, to, tracks=["drums", "bass"])
    assert not to.exists()
    files = client.call(server.url, "download_all", JOB, to, tracks=["drums"])
    assert files == {"drums": to / "drums.wav"}
    assert [path.read_bytes() for path in to.iterdir()] == [b"drums"]


def test_a_track_that_the_job_has_not_is_told_with_those_it_has(client: Driven) -> None:
    with pytest.raises(NotFound, match="'bass'; it has: vocals, drums"):
        client.call("http://127.0.0.1:9", "download", JOB, "bass", to=Path("x"))


@pytest.fixture
def full_disk() -> Iterator[None]:
    """No file takes more than 1,000 bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.usefixtures("full_disk")
def test_a_full_disk_is_no_broken_line(client: Driven, server: Scripted, tmp_path: Path) -> None:
    server.on("GET", PATH, Says(200, VOCALS))
    with pytest.raises(OSError, match="too large"):
        client.call(server.url, "download", JOB, "vocals", to=tmp_path / "vocals.wav")
    assert len(server.asked) == 1
