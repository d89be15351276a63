"""Forms, however they are cut into chunks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clearstem.errors import InvalidRequest, MissingFile
from functions.multipart import FormEvent, FormReader, PartBegins, PartData, PartEnds

BOUNDARY = "----x"
CONTENT_TYPE = f"multipart/form-data; boundary={BOUNDARY}"


def body(*parts: tuple[str, bytes], end: str = "--") -> bytes:
    coded = b"".join(
        f"--{BOUNDARY}\r\nContent-Disposition: form-data; {head}\r\n\r\n".encode() + data + b"\r\n"
        for head, data in parts
    )
    return coded + f"--{BOUNDARY}{end}\r\n".encode()


def read(whole: bytes, *, step: int = 0) -> list[FormEvent]:
    reader = FormReader(CONTENT_TYPE)
    step = step or len(whole)
    events = [e for i in range(0, len(whole), step) for e in reader.feed(whole[i : i + step])]
    reader.finish()
    return events


def joined(events: list[FormEvent]) -> bytes:
    return b"".join(e.data for e in events if isinstance(e, PartData))


@given(data=st.binary(max_size=200), step=st.integers(1, 300))
def test_a_file_comes_out_as_it_went_in_however_it_is_cut(data: bytes, step: int) -> None:
    whole = body(('name="file"; filename="a.wav"', data))
    if BOUNDARY.encode() in data:
        return
    events = read(whole, step=step)
    assert events[0] == PartBegins("file", "a.wav")
    assert joined(events) == data
    assert events[-1] == PartEnds()


def test_a_field_has_no_file_name() -> None:
    assert read(body(('name="engine"', b"auto")))[0] == PartBegins("engine", None)


@pytest.mark.parametrize("raw", ["Müde Straße.wav".encode(), "Müde Straße.wav".encode("latin-1")])
def test_names_of_new_and_old_clients_are_understood(raw: bytes) -> None:
    head = (
        b"--" + BOUNDARY.encode() + b'\r\nContent-Disposition: form-data; name="file"; filename="'
    )
    whole = head + raw + b'"\r\n\r\nx\r\n--' + BOUNDARY.encode() + b"--\r\n"
    assert read(whole)[0] == PartBegins("file", "Müde Straße.wav")


def test_a_body_that_breaks_off_is_refused() -> None:
    whole = body(('name="file"; filename="a.wav"', b"data"))
    with pytest.raises(InvalidRequest, match="closing boundary"):
        read(whole[:-8])


def test_a_body_of_another_boundary_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="cannot be read"):
        read(b"--other\r\n\r\n")


@pytest.mark.parametrize(
    "content_type", ["application/json", "multipart/form-data", "multipart/form-data; boundary="]
)
def test_what_is_no_form_is_refused(content_type: str) -> None:
    with pytest.raises(InvalidRequest, match="multipart/form-data"):
        FormReader(content_type)


def test_a_request_without_a_body_names_no_file() -> None:
    with pytest.raises(MissingFile, match="No filename provided"):
        FormReader("")
