"""Refusals as real clients meet them, over real sockets."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import requests

from clearstem.service import Service
from functions.rest import create_app
from tests.problems import refusal
from tests.serving import served

MEBIBYTE = 1024 * 1024


@pytest.fixture
def url(service: Service) -> Iterator[str]:
    settings = replace(service.settings, max_upload_bytes=2 * MEBIBYTE)
    with served(create_app(replace(service, settings=settings))) as address:
        yield address


def test_a_client_that_sends_before_it_listens_still_reads_the_refusal(url: str) -> None:
    answer = requests.post(f"{url}/process", files={"file": ("a.wav", bytes(40 * MEBIBYTE))})
    assert answer.status_code == 413
    assert refusal(answer) == (413, "File is larger than the limit of 2 MB")


def test_a_refused_name_is_told_before_the_file_has_come(url: str) -> None:
    with requests.Session() as session:
        for _ in range(2):  # the connection lives on
            files = {"file": ("a.aac", bytes(MEBIBYTE))}
            answer = session.post(f"{url}/process", files=files)
            assert answer.status_code == 400
