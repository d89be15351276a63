"""A track's way out of storage: to a file that appears when it is whole and right.

Until then it lies beside its place, under a name made of its sha256, so a later
run goes on where this one was cut off and never on top of another content.
"""

import functools
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import BinaryIO, Final

from clearstem.client.calling import Caller
from clearstem.client.calls import Call, Streamed, is_error
from clearstem.client.documents import TrackDocument
from clearstem.client.errors import (
    DamagedDownload,
    Refused,
    UnexpectedAnswer,
    Unreachable,
)

_MOST_MOVES: Final = 5
_BLOCK_BYTES: Final = 1 << 20
_NAMED: Final = 16


@dataclass(slots=True)
class PartialFile:
    """A track that is on its way.

    Attributes
    ----------
    to : Path
        Where it is to appear.
    size_bytes, sha256
        What the job tells of it.
    done_bytes : int
        How much of it is here.
    """

    to: Path
    size_bytes: int
    sha256: str
    done_bytes: int = 0
    _file: BinaryIO | None = None
    _digest: "hashlib._Hash" = field(default_factory=hashlib.sha256)

    @property
    def path(self) -> Path:
        """Where it lies until then."""
        return self.to.with_name(f".{self.to.name}.{self.sha256[:_NAMED]}.partial")

    def open(self) -> None:
        """Go on with what an earlier run has left, if it left anything."""
        self._file = self.path.open("ab+")
        self._file.seek(0)
        while block := self._file.read(_BLOCK_BYTES):
            self._digest.update(block)
            self.done_bytes += len(block)

    def append(self, piece: bytes) -> None:
        """Write on."""
        self._opened.write(piece)
        self._digest.update(piece)
        self.done_bytes += len(piece)

    def discard(self) -> None:
        """Begin again with nothing."""
        self._opened.truncate(0)
        self._digest, self.done_bytes = hashlib.sha256(), 0

    def appear(self) -> bool:
        """Take the place it is meant for, if it is right; whether it did."""
        if (self.done_bytes, self._digest.hexdigest()) != (self.size_bytes, self.sha256):
            return False
        self.close()
        self.path.replace(self.to)
        return True

    def close(self) -> None:
        """Let go of the file; what is there stays for another run, nothing does not."""
        if self._file is not None:
            self._file.close()
            self._file = None
            if self.done_bytes == 0:
                self.path.unlink(missing_ok=True)

    @property
    def _opened(self) -> BinaryIO:
        if self._file is None:
            raise ValueError("the file is closed")
        return self._file


async def fetch(caller: Caller, track: TrackDocument, *, to: Path) -> None:
    """Fetch a track to a file, from where an earlier attempt was cut off.

    Raises
    ------
    Refused, Unreachable
        As `Caller.send` does; what has come stays for the next call.
    DamagedDownload
        Twice something else came than the job tells.
    OSError
        It cannot be written; `filename` tells where.
    """
    partial = PartialFile(to, track["size_bytes"], track["sha256"])
    with _named(partial.path):
        await _fetch(caller, track, partial)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Say of which file an error is; a full disk, met while writing, does not tell."""
    try:
        yield
    except OSError as exc:
        exc.filename = exc.filename or str(path)
        raise


async def _fetch(caller: Caller, track: TrackDocument, partial: PartialFile) -> None:
    offload = caller.io.offload
    await offload(partial.open)
    try:
        # Once more from the start: what was left by another run may be what is wrong.
        for _ in range(2):
            await _fill(caller, caller.url + track["url"], partial)
            if await offload(partial.appear):
                return
            came = partial.done_bytes
            await offload(partial.discard)
    finally:
        await offload(partial.close)
    raise DamagedDownload(
        f"{track['name']}: {came} bytes came that are not the {partial.size_bytes} of "
        f"sha256 {partial.sha256}"
    )


async def _fill(caller: Caller, url: str, partial: PartialFile) -> None:
    """Bring as many bytes as there should be, in as many answers as it takes."""
    failures = 0
    while partial.done_bytes < partial.size_bytes:
        before = partial.done_bytes
        failed: Refused | Unreachable | None = None
        try:
            await _take(caller, url, partial)
        except (Refused, Unreachable) as exc:
            failed = exc
        if partial.done_bytes >= partial.size_bytes:
            return
        failures = 1 if partial.done_bytes > before else failures + 1
        wait_s = caller.retry.wait_s(failures, failed)
        if wait_s is None:
            if failed is None:
                return  # complete, the server thinks; the caller of this one sees it is not
            raise failed
        await caller.io.sleep(wait_s)


async def _take(caller: Caller, url: str, partial: PartialFile) -> None:
    """One answer, as much of it as comes."""
    # Compressed, neither its ranges nor its length would be the file's.
    headers = {**await caller.identity(), "Accept-Encoding": "identity"}
    if partial.done_bytes:
        headers["Range"] = f"bytes={partial.done_bytes}-"
    call: Call | None = Call("GET", url, headers)
    for _ in range(_MOST_MOVES):
        if call is None:
            return
        async with caller.io.stream(call) as answer:
            call = call.moved(answer.status, answer.headers)
            if call is None:
                await _store(caller, answer, partial)
    if call is not None:
        raise UnexpectedAnswer(f"more than {_MOST_MOVES} redirects")


async def _store(caller: Caller, answer: Streamed, partial: PartialFile) -> None:
    offload = caller.io.offload
    if answer.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
        await offload(partial.discard)
        return
    if is_error(answer.status):
        body = b"".join([piece async for piece in answer.pieces()])
        caller.check(answer.status, answer.headers, body)
    if not _goes_on(answer, partial):
        await offload(partial.discard)
    async for piece in answer.pieces():
        await offload(functools.partial(partial.append, piece))
        if partial.done_bytes > partial.size_bytes:
            return


def _goes_on(answer: Streamed, partial: PartialFile) -> bool:
    """Whether an answer begins with the byte that comes next."""
    if answer.status != HTTPStatus.PARTIAL_CONTENT:
        return partial.done_bytes == 0
    told = answer.headers.get("content-range", "")
    with suppress(ValueError):
        return int(told.removeprefix("bytes ").partition("-")[0]) == partial.done_bytes
    return False
