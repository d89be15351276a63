"""The guarded client against addresses that mean harm, and some that do not."""

import logging
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpcore
import pytest

from clearstem.deadline import Deadline, _TimedStream
from clearstem.errors import UrlFailed, UrlRefused, UrlUnreachable
from clearstem.guarded import GuardedClient
from tests.hostile import RECORDING, HostileServer, black_holes, hostile_server

LIMIT = 1_000_000


@pytest.fixture(scope="module")
def running() -> Iterator[HostileServer]:
    with hostile_server() as server:
        yield server


@pytest.fixture
def server(running: HostileServer) -> HostileServer:
    running.asked.clear()
    running.puts.clear()
    running.failures = 0
    return running


def local(**options) -> GuardedClient:
    return GuardedClient(**{"allow_loopback": True, "total_s": 5.0, "idle_s": 1.0, **options})


def fetched(client: GuardedClient, url: str, *, max_bytes: int = LIMIT) -> bytes:
    with client.fetch(url, max_bytes=max_bytes) as answer:
        return b"".join(answer.chunks)


def answering(*addresses: str):
    """A resolver whose every answer is the next of these, the last one for ever; and its calls."""
    asked: list[str] = []

    def resolve(host, port, *_):
        address = addresses[min(len(asked), len(addresses) - 1)]
        asked.append(host)
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        return [(family, socket.SOCK_STREAM, 6, "", (address, port))]

    return resolve, asked


def all_of(*addresses: str, after_s: float = 0.0):
    """A resolver that answers all of these at once, some time after it was asked."""

    def resolve(_, port, *__):
        time.sleep(after_s)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, port)) for ip in addresses]

    return resolve


def test_a_recording_comes_as_it_is_with_what_was_said_of_it(server):
    url = server.url("/a.wav?type=audio/x-wav&name=attachment;%20filename%3D%22b.wav%22")
    with local().fetch(url, max_bytes=LIMIT) as answer:
        assert (answer.content_type, answer.file_name) == ("audio/x-wav", "b.wav")
        assert (answer.url, answer.size_bytes) == (url, len(RECORDING))
        assert b"".join(answer.chunks) == RECORDING


def test_a_name_in_another_script_is_read(server):
    url = server.url("/a?name=attachment;%20filename*%3DUTF-8%27%27%25D0%25B0.wav")
    with local().fetch(url, max_bytes=LIMIT) as answer:
        assert answer.file_name == "а.wav"


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "169.254.169.254",
        "169.254.170.2",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "::1",
        "::127.0.0.1",
        "::ffff:10.0.0.1",
        "64:ff9b::7f00:1",
        "2002:a9fe:a9fe::",
        "fec0::1",
        "fd00:ec2::254",
        "ff02::1",
    ],
)
def test_a_public_name_that_leads_to_a_special_address_is_refused(address):
    resolver, asked = answering(address)
    client = GuardedClient(resolver=resolver)
    for call in (
        lambda: fetched(client, "https://storage.example/a.wav"),
        lambda: client.put("https://storage.example/a.wav", Path(__file__), content_type="a/b"),
    ):
        with pytest.raises(UrlRefused, match="does not lead to a public host") as caught:
            call()
        # An answer that names it would make us a resolver of somebody's internal names.
        assert address not in str(caught.value)
    assert asked == ["storage.example"] * 2


@pytest.mark.parametrize("host", ["localhost", "0x7f000001", "0x7f.1", "0xa9fea9fe"])
def test_a_name_that_this_machines_own_resolver_turns_internal_is_refused(host):
    with pytest.raises(UrlRefused, match="does not lead to a public host"):
        fetched(GuardedClient(), f"https://{host}/a.wav")


def test_a_name_with_one_public_and_one_internal_address_is_refused_whole():
    def resolve(_, port, *__):
        pair = ("93.184.216.34", "10.0.0.1")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, port)) for ip in pair]

    with pytest.raises(UrlRefused):
        fetched(GuardedClient(resolver=resolve), "https://storage.example/a.wav")


def test_a_name_that_changes_after_the_check_changes_nothing(server):
    """DNS rebinding: only the first answer, which was checked, is ever connected to."""
    with hostile_server("127.0.0.2", server.port) as trap:
        resolver, asked = answering("127.0.0.1", "127.0.0.2")
        client = local(resolver=resolver)
        assert fetched(client, server.url("/a.wav", host="rebinding.example")) == RECORDING
        assert (asked, server.asked, trap.asked) == (["rebinding.example"], ["/a.wav"], [])


def test_a_name_that_has_turned_internal_by_the_next_hop_is_refused_there(server):
    resolver, asked = answering("127.0.0.1", "169.254.169.254")
    start = server.url("/redirect?to=/a.wav", host="rebinding.example")
    with pytest.raises(UrlRefused, match="public host"):
        fetched(local(resolver=resolver), start)
    assert (len(asked), server.asked) == (2, ["/redirect?to=/a.wav"])


@pytest.mark.parametrize(
    "target",
    [
        "http://169.254.169.254/latest/meta-data/iam/security-credentials/",
        "http://169.254.170.2/v2/credentials/",
        "http://[fec0::1]/",
        "http://me:secret@127.0.0.1/",
        "file:///etc/passwd",
        "ftp://127.0.0.1/",
    ],
)
def test_a_redirect_to_what_is_not_called_is_not_followed(server, target):
    with pytest.raises(UrlRefused):
        fetched(local(), server.url(f"/redirect?to={target}"))
    assert len(server.asked) == 1


def test_a_redirect_is_followed_and_names_where_it_ended(server):
    with local().fetch(server.url("/redirect?to=/b.wav"), max_bytes=LIMIT) as answer:
        assert answer.url == server.url("/b.wav")
        assert b"".join(answer.chunks) == RECORDING


def test_five_redirects_are_followed_and_no_sixth(server):
    with pytest.raises(UrlFailed, match="redirects more than 5 times"):
        fetched(local(), server.url("/loop"))
    assert len(server.asked) == 6


@pytest.mark.parametrize(
    ("path", "error", "message"),
    [
        ("/404", UrlFailed, "answered 404"),
        ("/403", UrlFailed, "answered 403"),
        ("/204", UrlFailed, "answered 204"),
        ("/304", UrlFailed, "answered 304"),
        ("/500", UrlUnreachable, "answered 500"),
        ("/429", UrlUnreachable, "answered 429"),
        ("/page", UrlFailed, r"a web page \(HTML\), not with a recording"),
        ("/gzip", UrlFailed, "compressed content"),
        ("/announced", UrlFailed, "more than 1000000 bytes"),
        ("/endless", UrlFailed, "more than 1000000 bytes"),
        ("/cut", UrlUnreachable, "broke off the connection"),
    ],
)
def test_what_is_no_recording_is_told_by_its_cause(server, path, error, message):
    with pytest.raises(UrlFailed, match=message) as caught:
        fetched(local(), server.url(path))
    assert type(caught.value) is error


def test_an_address_that_never_answers_is_given_up(server):
    with pytest.raises(UrlUnreachable, match=r"sent or took nothing for 0\.2 s"):
        fetched(local(idle_s=0.2), server.url("/silent"))


@pytest.mark.parametrize("path", ["/slow-body", "/slow-headers"])
def test_a_byte_now_and_then_does_not_hold_a_transfer_beyond_its_time(server, path):
    began = time.monotonic()
    with pytest.raises(UrlFailed, match=r"took longer than 0\.5 s"):
        fetched(local(total_s=0.5, idle_s=0.4), server.url(path))
    assert time.monotonic() - began < 2


def test_a_lookup_without_end_is_given_up_with_its_transfer():
    never = threading.Event()
    client = GuardedClient(total_s=0.1, resolver=lambda *_: never.wait(5) or [])
    began = time.monotonic()
    try:
        with pytest.raises(UrlUnreachable, match="does not resolve"):
            fetched(client, "https://storage.example/a.wav")
    finally:
        never.set()
    assert time.monotonic() - began < 2


DEAD = ("127.0.0.2", "127.0.0.3", "127.0.0.4")


def test_a_slow_lookup_and_all_dead_addresses_of_a_name_have_one_time_together():
    resolver = all_of("127.0.0.5", *DEAD, after_s=0.3)
    began = time.monotonic()
    with black_holes("127.0.0.5", *DEAD) as port, pytest.raises(UrlFailed) as caught:
        local(resolver=resolver, total_s=0.7).post(f"http://receiver.example:{port}/", b"{}", {})
    assert 0.6 < time.monotonic() - began < 2
    assert str(caught.value) in (
        "the address does not answer",
        "the address took longer than 0.7 s",
    )


def test_a_living_address_behind_dead_ones_gets_its_share_of_the_time(server):
    with black_holes(*DEAD, port=server.port):
        client = local(resolver=all_of(*DEAD, "127.0.0.1"), total_s=1.6, idle_s=5.0)
        assert fetched(client, server.url("/a.wav", host="receiver.example")) == RECORDING


def test_a_refusal_is_told_before_the_silence_of_other_addresses():
    with black_holes("127.0.0.2") as port, pytest.raises(UrlUnreachable, match="refuses"):
        resolver = all_of("127.0.0.6", "127.0.0.2")
        fetched(local(resolver=resolver, total_s=0.4), f"http://receiver.example:{port}/")


def test_who_takes_a_little_now_and_then_does_not_hold_a_write_beyond_its_time():
    seconds = [0.0]

    class Sipping(httpcore.NetworkStream):
        def write(self, buffer: bytes, timeout: float | None = None) -> None:
            seconds[0] += 0.1

    deadline = Deadline(at=0.5, total_s=0.5, monotonic=lambda: seconds[0])
    with pytest.raises(UrlFailed, match=r"took longer than 0\.5 s"):
        _TimedStream(Sipping(), deadline).write(bytes(256 * 1024))
    assert seconds[0] == pytest.approx(0.5)


def test_a_name_that_does_not_exist_is_told(server):
    def nowhere(*_):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    with pytest.raises(UrlUnreachable, match="host name of the address does not resolve"):
        fetched(GuardedClient(resolver=nowhere), "https://storage.example/a.wav")


def test_a_port_where_nobody_listens_is_told():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/a.wav"
    with pytest.raises(UrlUnreachable, match="refuses connections"):
        fetched(local(), url)


def test_proxies_of_the_environment_are_not_asked(server, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    assert fetched(local(), server.url("/a.wav")) == RECORDING


def test_no_log_has_the_address(server, caplog):
    caplog.set_level(logging.INFO)
    fetched(local(), server.url("/a.wav?X-Amz-Signature=s3cret"))
    assert "s3cret" not in caplog.text


def test_a_file_is_put_with_its_type_and_length_and_never_in_chunks(server, tmp_path):
    path = tmp_path / "clean.wav"
    path.write_bytes(RECORDING * 40)
    local().put(server.url("/taken?sig=1"), path, content_type="audio/wav")
    (put,) = server.puts
    assert (put.path, put.body) == ("/taken?sig=1", path.read_bytes())
    assert put.headers["Content-Type"] == "audio/wav"
    assert put.headers["Content-Length"] == str(path.stat().st_size)
    assert "Transfer-Encoding" not in put.headers


def test_a_put_that_is_moved_is_sent_again_whole(server, tmp_path):
    path = tmp_path / "clean.wav"
    path.write_bytes(RECORDING)
    local().put(server.url("/moved/307"), path, content_type="audio/wav")
    assert [(put.path, put.body) for put in server.puts] == [
        ("/moved/307", RECORDING),
        ("/taken", RECORDING),
    ]


@pytest.mark.parametrize(
    ("path", "error", "message"),
    [
        ("/403", UrlFailed, "answered 403"),
        ("/500", UrlUnreachable, "answered 500"),
        ("/moved/303", UrlFailed, "answered 303"),
        ("/close", UrlUnreachable, "broke off the connection"),
    ],
)
def test_a_put_that_was_not_taken_is_told_by_its_cause(server, tmp_path, path, error, message):
    file = tmp_path / "clean.wav"
    file.write_bytes(bytes(8_000_000))
    with pytest.raises(UrlFailed, match=message) as caught:
        local().put(server.url(path), file, content_type="audio/wav")
    assert type(caught.value) is error


@pytest.fixture(scope="module")
def certificate(tmp_path_factory) -> Path:
    """A certificate for ``storage.example`` and its key, in one file."""
    folder = tmp_path_factory.mktemp("tls")
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2"
    command += " -subj /CN=storage.example -addext subjectAltName=DNS:storage.example"
    files = ["-keyout", str(folder / "key"), "-out", str(folder / "certificate")]
    subprocess.run([*command.split(), *files], check=True, capture_output=True)
    both = folder / "both.pem"
    both.write_text((folder / "key").read_text() + (folder / "certificate").read_text())
    return both


def test_certificates_are_checked_for_the_name_and_not_for_the_number(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    trusting = ssl.create_default_context(cafile=str(certificate))
    resolver, _ = answering("127.0.0.1")
    with hostile_server(tls=context) as server:
        client = local(resolver=resolver, tls=trusting)
        address = f":{server.port}/a.wav"
        assert fetched(client, f"https://storage.example{address}") == RECORDING
        for other in (f"https://other.example{address}", f"https://127.0.0.1{address}"):
            with pytest.raises(UrlUnreachable, match="no certificate that can be trusted"):
                fetched(client, other)
        with pytest.raises(UrlUnreachable, match="no certificate that can be trusted"):
            fetched(local(resolver=resolver), f"https://storage.example{address}")
