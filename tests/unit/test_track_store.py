"""Bytes on their way in and out of S3."""

import hashlib
import os
from datetime import UTC, datetime, timedelta
from io import BytesIO
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from botocore.exceptions import ClientError, IncompleteReadError
from botocore.response import StreamingBody
from botocore.stub import Stubber

from clearstem import track_store
from clearstem.errors import TooLarge, TrackNotFound, UploadNotFound
from clearstem.facts import Location
from clearstem.media import HEAD_BYTES, MEBIBYTE
from clearstem.service import Service
from clearstem.track_store import PART_BYTES, ObjectWriter, TrackStore, content_disposition

SOUND = os.urandom(PART_BYTES + 10)


@pytest.fixture
def store(service: Service) -> TrackStore:
    return service.store


@pytest.fixture
def place(service: Service) -> Location:
    return Location(service.settings.uploads_bucket, "uploads/ada/1/source.wav")


def writer(store: TrackStore, place: Location, *, max_bytes: int = 10 * PART_BYTES) -> ObjectWriter:
    return store.writer(place, content_type="audio/wav", max_bytes=max_bytes)


def stored(store: TrackStore, place: Location) -> bytes:
    return b"".join(store.chunks(place))


def leftovers(store: TrackStore, place: Location) -> list[object]:
    """Whatever lies in the bucket, finished or not."""
    objects = store.client.list_objects_v2(Bucket=place.bucket).get("Contents", [])
    uploads = store.client.list_multipart_uploads(Bucket=place.bucket).get("Uploads", [])
    return [*objects, *uploads]


def test_what_is_written_lies_there_byte_for_byte(store, place):
    around_parts = (PART_BYTES - 1, PART_BYTES, PART_BYTES + 1, 2 * PART_BYTES)
    for size in (0, 1, HEAD_BYTES, *around_parts):
        data = (SOUND * 2)[:size]
        with writer(store, place) as target:
            for start in range(0, size, 3 * MEBIBYTE + 1):
                target.write(data[start : start + 3 * MEBIBYTE + 1])
        assert stored(store, place) == data
        assert store.stat(place).size_bytes == target.size_bytes == size
        assert target.sha256 == hashlib.sha256(data).hexdigest()
        assert target.head == data[:HEAD_BYTES]


def test_one_write_of_several_parts_is_cut_into_parts(store, place):
    data = SOUND * 3
    with writer(store, place) as target:
        target.write(data)
    assert hashlib.sha256(stored(store, place)).hexdigest() == target.sha256
    # S3 marks an object of parts by their number.
    etag = store.client.head_object(Bucket=place.bucket, Key=place.key)["ETag"]
    assert etag.strip('"').endswith("-4")


def test_the_head_is_gathered_from_the_smallest_writes(store, place):
    with writer(store, place) as target:
        for byte in SOUND[: HEAD_BYTES + 5]:
            target.write(bytes((byte,)))
    assert target.head == SOUND[:HEAD_BYTES] == store.head(place)


def test_an_object_has_its_media_type(store, place):
    with writer(store, place) as target:
        target.write(SOUND)
    head = store.client.head_object(Bucket=place.bucket, Key=place.key)
    assert head["ContentType"] == "audio/wav"


def test_nothing_is_there_before_the_writer_is_done(store, place):
    with writer(store, place) as target:
        target.write(SOUND)
        with pytest.raises(UploadNotFound):
            store.stat(place)
    assert store.stat(place).size_bytes == len(SOUND)


@pytest.mark.parametrize("size", [10, len(SOUND)], ids=["one part", "two parts"])
def test_a_writer_left_by_an_exception_leaves_nothing_behind(store, place, size):
    with pytest.raises(ConnectionResetError), writer(store, place) as target:
        target.write(SOUND[:size])
        raise ConnectionResetError
    assert leftovers(store, place) == []


def test_the_limit_itself_is_within_the_limit(store, place):
    with writer(store, place, max_bytes=len(SOUND)) as target:
        target.write(SOUND)
    assert store.stat(place).size_bytes == len(SOUND)


def test_one_byte_beyond_the_limit_is_refused_and_leaves_nothing_behind(store, place):
    with (
        pytest.raises(TooLarge, match=r"^File is larger than the limit of 8 MB$"),
        writer(store, place, max_bytes=PART_BYTES) as target,
    ):
        target.write(SOUND[:PART_BYTES])
        target.write(b"!")
    assert leftovers(store, place) == []


def test_an_upload_that_cannot_be_finished_leaves_no_parts_behind(store, place):
    target = {"Bucket": place.bucket, "Key": place.key}
    with Stubber(store.client) as answers:
        answers.add_response("create_multipart_upload", {"UploadId": "u1"})
        answers.add_response("upload_part", {"ETag": "e1"})
        answers.add_client_error("upload_part", "SlowDown", http_status_code=503)
        answers.add_response("abort_multipart_upload", {}, {**target, "UploadId": "u1"})
        with pytest.raises(ClientError, match="SlowDown"), writer(store, place) as sink:
            sink.write(SOUND)
        answers.assert_no_pending_responses()


def test_parts_are_put_together_in_their_order(store, place):
    tagged = [{"ETag": f"e{n}", "PartNumber": n} for n in (1, 2)]
    target = {"Bucket": place.bucket, "Key": place.key, "UploadId": "u1"}
    with Stubber(store.client) as answers:
        answers.add_response("create_multipart_upload", {"UploadId": "u1"})
        for n, size in ((1, PART_BYTES), (2, 10)):
            part = {**target, "PartNumber": n, "Body": SOUND[(n - 1) * PART_BYTES :][:size]}
            answers.add_response("upload_part", {"ETag": f"e{n}"}, part)
        done = {**target, "MultipartUpload": {"Parts": tagged}}
        answers.add_response("complete_multipart_upload", {}, done)
        with writer(store, place) as sink:
            sink.write(SOUND)
        answers.assert_no_pending_responses()


def test_what_was_never_uploaded_is_not_found(store, place):
    with pytest.raises(UploadNotFound, match=r"nothing was uploaded to uploads/ada/1/source\.wav"):
        store.stat(place)
    with pytest.raises(TrackNotFound):
        stored(store, place)
    assert store.read_text(place) is None


def test_a_storage_that_refuses_is_no_missing_upload(store, place):
    with Stubber(store.client) as answers:
        answers.add_client_error("head_object", "403", http_status_code=403)
        with pytest.raises(ClientError, match="403"):
            store.stat(place)


def test_metadata_comes_with_the_size(store, place):
    store.client.put_object(
        Bucket=place.bucket, Key=place.key, Body=b"RIFF", Metadata={"clearstem-format": "mp3"}
    )
    found = store.stat(place)
    assert (found.size_bytes, found.metadata) == (4, {"clearstem-format": "mp3"})


def test_a_range_of_an_object_is_read_with_both_its_ends(store, place):
    store.client.put_object(Bucket=place.bucket, Key=place.key, Body=SOUND[:1_000_000])
    for first, last in ((0, 0), (0, 9), (5, None), (999_999, None), (500_000, 700_000)):
        read = b"".join(store.chunks(place, first=first, last=last))
        assert read == SOUND[first : 1_000_000 if last is None else last + 1]


def test_a_download_that_breaks_off_is_an_error_not_a_short_track(store, place):
    broken = StreamingBody(BytesIO(SOUND[:10]), 20)
    with Stubber(store.client) as answers:
        answers.add_response("get_object", {"Body": broken})
        with pytest.raises(IncompleteReadError):
            stored(store, place)


def test_a_file_goes_up_and_comes_down_unchanged(store, place, tmp_path):
    source, copy = tmp_path / "source.flac", tmp_path / "copy.flac"
    source.write_bytes(SOUND)
    store.put_file(source, to=place, content_type="audio/flac")
    store.fetch(place, to=copy)
    assert copy.read_bytes() == SOUND
    head = store.client.head_object(Bucket=place.bucket, Key=place.key)
    assert head["ContentType"] == "audio/flac"


def test_a_text_is_read_as_it_was_written(store, place):
    store.write_text("nicht zu öffnen: 歌", to=place, content_type="text/plain; charset=utf-8")
    assert store.read_text(place) == "nicht zu öffnen: 歌"


def test_storage_tells_when_an_object_came(store, place):
    assert store.stored_at(place) is None
    before = datetime.now(UTC)
    store.client.put_object(Bucket=place.bucket, Key=place.key, Body=SOUND[:100])
    # S3 tells whole seconds.
    assert before - timedelta(seconds=1) <= store.stored_at(place) <= datetime.now(UTC)
    assert store.stored_at(Location(place.bucket, place.key[:-1])) is None


def test_a_download_link_gives_the_bytes_under_a_name_for_a_quarter_of_an_hour(store, place):
    store.client.put_object(Bucket=place.bucket, Key=place.key, Body=SOUND[:100])
    link = store.presign_download(place, file_name="гимн.wav", content_type="audio/wav")
    asked = parse_qs(urlsplit(link).query)
    assert asked["X-Amz-Algorithm"] == ["AWS4-HMAC-SHA256"]
    assert asked["X-Amz-Expires"] == ["900"]
    answer = httpx.get(link)
    assert answer.content == SOUND[:100]
    assert answer.headers["content-type"] == "audio/wav"
    assert answer.headers["content-disposition"] == content_disposition("гимн.wav")


def test_an_upload_link_takes_one_file_by_put(store, place):
    links = store.presign_upload(place, content_type="audio/wav", max_bytes=1000)
    assert "X-Amz-Algorithm=AWS4-HMAC-SHA256" in links.put_url
    assert f"X-Amz-Expires={links.expires_in_s}" in links.put_url
    answer = httpx.put(links.put_url, content=SOUND[:100], headers=links.put_headers)
    assert answer.status_code == 200
    assert stored(store, place) == SOUND[:100]


def test_an_upload_form_takes_one_file_of_bounded_size_by_post(store, place):
    links = store.presign_upload(place, content_type="audio/wav", max_bytes=1000)
    file = {"file": ("song.wav", SOUND[:100], "audio/wav")}
    answer = httpx.post(links.post_url, data=links.post_fields, files=file)
    assert answer.is_success
    assert stored(store, place) == SOUND[:100]
    too_large = {"file": ("song.wav", SOUND[:1001], "audio/wav")}
    assert httpx.post(links.post_url, data=links.post_fields, files=too_large).is_client_error


@pytest.mark.parametrize(
    ("name", "header"),
    [
        ("song.wav", "attachment; filename=\"song.wav\"; filename*=UTF-8''song.wav"),
        ('a"b\\c.wav', "attachment; filename=\"a_b_c.wav\"; filename*=UTF-8''a%22b%5Cc.wav"),
        ("歌.wav", "attachment; filename=\"?.wav\"; filename*=UTF-8''%E6%AD%8C.wav"),
        ("a b'c.wav", "attachment; filename=\"a b'c.wav\"; filename*=UTF-8''a%20b%27c.wav"),
    ],
)
def test_a_name_of_any_script_goes_into_a_header(name, header):
    assert content_disposition(name) == header
    assert header.isascii()


def test_storage_tells_the_sum_of_what_came_whole_and_of_nothing_else(store, place):
    data = SOUND[: 6 * MEBIBYTE]
    store.client.put_object(
        Bucket=place.bucket, Key=place.key, Body=data, ChecksumAlgorithm="SHA256"
    )
    assert store.stat(place).sha256 == hashlib.sha256(data).hexdigest()
    target = {"Bucket": place.bucket, "Key": place.key}
    # What came in parts has a sum over the parts' sums, which looks much the same.
    upload_id = store.client.create_multipart_upload(**target, ChecksumAlgorithm="SHA256")[
        "UploadId"
    ]
    part = store.client.upload_part(
        **target, UploadId=upload_id, PartNumber=1, Body=data, ChecksumAlgorithm="SHA256"
    )
    told = {name: part[name] for name in ("ETag", "ChecksumSHA256")}
    store.client.complete_multipart_upload(
        **target, UploadId=upload_id, MultipartUpload={"Parts": [{**told, "PartNumber": 1}]}
    )
    head = store.client.head_object(**target, ChecksumMode="ENABLED")
    assert head["ChecksumSHA256"].endswith("-1")
    assert store.stat(place).sha256 is None
    store.client.put_object(**target, Body=data)
    assert store.stat(place).sha256 is None


@pytest.mark.parametrize("at_once", [MEBIBYTE * 64, 5 * MEBIBYTE], ids=["whole", "in parts"])
def test_a_copy_has_the_same_bytes_and_its_own_type(store, place, monkeypatch, at_once):
    monkeypatch.setattr(track_store, "_COPIED_AT_ONCE_BYTES", at_once)
    with writer(store, place) as target:
        target.write(SOUND)
    copied = Location(place.bucket, "jobs/1/vocals.wav")
    store.copy(place, to=copied, content_type="audio/flac")
    assert stored(store, copied) == SOUND
    head = store.client.head_object(Bucket=copied.bucket, Key=copied.key)
    assert head["ContentType"] == "audio/flac"


def test_nothing_is_copied_from_where_nothing_is(store, place):
    with pytest.raises(ClientError):
        store.copy(place, to=Location(place.bucket, "copy"), content_type="audio/wav")
