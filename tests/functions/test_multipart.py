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


WORDS = "=?utf-8?B?w7xiZXIud2F2?="


@pytest.mark.parametrize(
    ("written", "name"),
    [
        # .NET's MultipartFormDataContent, and PowerShell by way of it.
        (f"filename=\"{WORDS}\"; filename*=utf-8''%C3%BCber.wav", "über.wav"),
        (f'filename="{WORDS}"', "über.wav"),
        (f"filename={WORDS}", "über.wav"),
        ("filename*=UTF-8'de'%C3%BCber.wav", "über.wav"),
        ("filename*=\"utf-8''%C3%BCber.wav\"", "über.wav"),
        ("filename*=iso-8859-1''%FCber.wav; filename=uber.wav", "über.wav"),
        ("FILENAME* = utf-8''100%25%3B%20a.wav", "100%; a.wav"),
        ('filename="=?iso-8859-1?Q?=FCber_uns.wav?="', "über uns.wav"),
        ('filename="=?utf-8?q?=C3=BCber?= =?utf-8?b?LndhdiA=?="', "über.wav "),
    ],
)
def test_names_that_are_not_ascii_are_understood_as_they_should_not_be_written(
    written: str, name: str
) -> None:
    assert read(body((f'name="file"; {written}', b"x")))[0] == PartBegins("file", name)


@pytest.mark.parametrize(
    "unreadable",
    [
        "utf-8''%C3.wav",
        "utf-8''%zz.wav",
        "utf-8''100%",
        "utf-8''",
        "koi8-r''%C1.wav",
        "no-such''a.wav",
        "a.wav",
        "",
    ],
)
def test_of_a_name_that_is_written_twice_the_readable_one_counts(unreadable: str) -> None:
    head = f'name="file"; filename="plain.wav"; filename*={unreadable}'
    assert read(body((head, b"x")))[0] == PartBegins("file", "plain.wav")
    with pytest.raises(InvalidRequest, match=r"the file's name cannot be read: filename\* is "):
        read(body((f'name="file"; filename*={unreadable}', b"x")))


@pytest.mark.parametrize(
    "name",
    [
        "=?utf-8?B?w7?=",
        "=?utf-8?B?w?=",
        "=?no-such?Q?a.wav?=",
        "=?utf-8?X?a.wav?=",
        f"take {WORDS}.wav",
        "a; filename*=utf-8''b.wav",
        "a'b''%C3%BC.wav",
    ],
)
def test_what_only_looks_like_a_written_out_name_is_one_as_it_is(name: str) -> None:
    assert read(body((f'name="file"; filename="{name}"', b"x")))[0] == PartBegins("file", name)


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
