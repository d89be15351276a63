"""S3 on the emulator: large objects by ranges, in parts and as streams; and what is forgotten."""

import io
import os
from typing import Any

import pytest
from boto3.s3.transfer import TransferConfig

from tests.emulator import Account

MEBIBYTE = 1024 * 1024
IN_PARTS = TransferConfig(multipart_threshold=5 * MEBIBYTE, multipart_chunksize=5 * MEBIBYTE)


@pytest.fixture
def s3(aws: Account) -> Any:
    client = aws.client("s3")
    client.create_bucket(Bucket=f"bucket-{aws.number}")
    return client


@pytest.fixture
def bucket(aws: Account, s3: Any) -> str:
    return f"bucket-{aws.number}"


@pytest.fixture
def stored(s3: Any, bucket: str) -> bytes:
    """The content of the object ``key``, which came in three parts."""
    content = os.urandom(MEBIBYTE) * 12
    s3.upload_fileobj(io.BytesIO(content), bucket, "key", Config=IN_PARTS)
    return content


def test_an_object_uploaded_in_parts_comes_back_as_it_was(
    s3: Any, bucket: str, stored: bytes
) -> None:
    answer = s3.get_object(Bucket=bucket, Key="key")
    assert answer["ContentLength"] == len(stored)
    assert answer["Body"].read() == stored


@pytest.mark.parametrize(
    ("span", "first", "last"),
    [("bytes=0-0", 0, 1), ("bytes=5-9", 5, 10), ("bytes=-3", -3, None), ("bytes=7-", 7, None)],
)
def test_a_range_is_cut_where_it_says(
    s3: Any, bucket: str, stored: bytes, span: str, first: int, last: int | None
) -> None:
    answer = s3.get_object(Bucket=bucket, Key="key", Range=span)
    assert answer["Body"].read() == stored[first:last]


def test_ranges_in_parallel_make_the_whole(s3: Any, bucket: str, stored: bytes) -> None:
    received = io.BytesIO()
    s3.download_fileobj(bucket, "key", received, Config=IN_PARTS)
    assert received.getvalue() == stored


def test_a_range_beyond_the_end_is_refused(s3: Any, bucket: str, stored: bytes) -> None:
    with pytest.raises(s3.exceptions.ClientError, match=r"InvalidRange|416"):
        s3.get_object(Bucket=bucket, Key="key", Range=f"bytes={len(stored)}-")


@pytest.mark.parametrize("content", [b"", b"short"])
def test_small_objects_are_whole(s3: Any, bucket: str, content: bytes) -> None:
    s3.put_object(Bucket=bucket, Key="small", Body=content)
    assert s3.get_object(Bucket=bucket, Key="small")["Body"].read() == content
    assert s3.head_object(Bucket=bucket, Key="small")["ContentLength"] == len(content)


def test_a_copy_has_the_bytes_of_its_source(s3: Any, bucket: str, stored: bytes) -> None:
    s3.copy_object(Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": "key"})
    assert s3.get_object(Bucket=bucket, Key="copy")["Body"].read() == stored


def test_bodies_are_not_held_in_memory(aws: Account, bucket: str, stored: bytes) -> None:
    from ministack.services import s3 as service

    record = service._buckets._data[(aws.number, bucket)]["objects"]["key"]
    assert record["body"] is None


def test_old_log_streams_are_forgotten(aws: Account) -> None:
    from infra.local import retention

    logs = aws.client("logs")
    logs.create_log_group(logGroupName="group")
    for number in range(retention.STREAMS_PER_GROUP + 3):
        logs.create_log_stream(logGroupName="group", logStreamName=f"stream-{number:04d}")
    retention.trim()
    pages = logs.get_paginator("describe_log_streams").paginate(logGroupName="group")
    names = sorted(stream["logStreamName"] for page in pages for stream in page["logStreams"])
    assert len(names) == retention.STREAMS_PER_GROUP
    assert names[0] == "stream-0003"
