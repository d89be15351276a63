"""A recording's way into storage: one PUT, or parts that need not be sent twice.

Storage knows which parts it has, so all that has to outlive an interrupted run
is the upload's id. It is kept in a small file, named by what was being sent
where: another server, another file or a changed one begins anew.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from clearstem.client.calling import Caller
from clearstem.client.calls import Call, FileSlice, Result
from clearstem.client.documents import PartLinkDocument, PartsDocument, StoredDocument
from clearstem.client.documents import UploadDocument as Announced
from clearstem.client.errors import FileChanged, NotAllowed, NotFound, UploadStalled

# The API cuts what is larger into parts (S3's own advice); only what is sent
# at once can be bound to its hash, which takes reading it twice.
_HASHED_BYTES: Final = 100 << 20
# A part on a slow line; putting parts of 5 GB together.
_SILENCE_S: Final = 300.0
_BLOCK_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Recording:
    """A file as it is when its upload begins."""

    path: Path
    size_bytes: int
    modified_ns: int

    @classmethod
    def of(cls, path: Path) -> "Recording":
        """The file there; `OSError` if there is none."""
        found = path.stat()
        return cls(path, found.st_size, found.st_mtime_ns)

    def check(self) -> None:
        """Raise `FileChanged` if it is not what it was."""
        if Recording.of(self.path) != self:
            raise FileChanged(f"{self.path} changed while it was sent; send it again")

    def sha256(self) -> str:
        """Of its content, in hexadecimal."""
        digest = hashlib.sha256()
        with self.path.open("rb") as file:
            while block := file.read(_BLOCK_BYTES):
                digest.update(block)
        return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Unfinished:
    """The ids of uploads in parts that are not complete, in a folder.

    Attributes
    ----------
    folder : Path
        Made when it is first needed.
    """

    folder: Path

    def entry(self, recording: Recording, *, url: str, recipe: str) -> Path:
        """Where the id of that upload is kept."""
        facts = (url, recording.path.resolve(), recording.size_bytes, recording.modified_ns, recipe)
        digest = hashlib.sha256("\0".join(map(str, facts)).encode()).hexdigest()
        return self.folder / digest

    def remember(self, entry: Path, upload_id: str) -> None:
        """Keep an id, for nobody but this user."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        written = entry.with_suffix(".new")
        written.write_text(upload_id, encoding="ascii")
        written.replace(entry)


def known_id(entry: Path) -> str | None:
    """The id kept there, if there is one."""
    try:
        return entry.read_text(encoding="ascii").strip() or None
    except (OSError, ValueError):
        return None


@dataclass(frozen=True, slots=True)
class Uploads:
    """Sends recordings."""

    caller: Caller
    unfinished: Unfinished

    async def send(self, path: Path, *, recipe: str) -> str:
        """Send a recording; the upload's id, to make a job of.

        Parts that an interrupted run has sent are not sent again.

        Raises
        ------
        Refused, Unreachable
            As `Caller.send` does.
        FileChanged
            The file was written to meanwhile.
        UploadStalled
            Storage keeps none of the parts that it takes.
        """
        recording = await self._offload(lambda: Recording.of(path))
        entry = self.unfinished.entry(recording, url=self.caller.url, recipe=recipe)
        upload_id = await self._resumed(entry, recording)
        if upload_id is None:
            upload_id = await self._begun(entry, recording, recipe=recipe)
        await self._offload(recording.check)
        return upload_id

    async def _resumed(self, entry: Path, recording: Recording) -> str | None:
        """The id of an upload that was begun before and is complete now; None if there is none."""
        upload_id = await self._offload(lambda: known_id(entry))
        if upload_id is None:
            return None
        try:
            parts = await self._parts(upload_id)
        except NotFound:
            parts = None  # complete, abandoned or expired: completing it tells
        try:
            await self._finished(upload_id, parts, recording, entry=entry)
        except NotFound:
            await self._offload(lambda: entry.unlink(missing_ok=True))
            return None
        return upload_id

    async def _begun(self, entry: Path, recording: Recording, *, recipe: str) -> str:
        size = recording.size_bytes
        body = {"file_name": recording.path.name, "recipe": recipe, "size_bytes": size}
        if size <= _HASHED_BYTES:
            body["sha256"] = await self._offload(recording.sha256)
        announced = await self.caller.post("/uploads", Announced, body=body)
        upload_id, parts = announced["upload_id"], announced["parts"]
        if parts is None:
            put = announced["put"]
            content = FileSlice(recording.path, 0, size)
            await self._put(put["url"], put["headers"], content)
            return upload_id
        await self._offload(lambda: self.unfinished.remember(entry, upload_id))
        await self._finished(upload_id, parts, recording, entry=entry)
        return upload_id

    async def _finished(
        self, upload_id: str, parts: PartsDocument | None, recording: Recording, *, entry: Path
    ) -> None:
        while parts is not None and parts["missing"]:
            parts = await self._sent(upload_id, parts, recording)
        await self._offload(recording.check)
        path = f"/uploads/{upload_id}/complete"
        await self.caller.post(path, StoredDocument, silence_s=_SILENCE_S)
        await self._offload(lambda: entry.unlink(missing_ok=True))

    async def _sent(
        self, upload_id: str, parts: PartsDocument, recording: Recording
    ) -> PartsDocument:
        """Send what there are links for; what is missing then, with fresh links."""
        refused: NotAllowed | None = None
        for link in parts["missing"]:
            try:
                await self._put_part(link, parts, recording)
            except NotAllowed as exc:
                # Links are good for an hour, which a slow line may need for some of them.
                refused = exc
                break
        now = await self._parts(upload_id)
        if len(now["stored"]) <= len(parts["stored"]):
            raise refused or UploadStalled(
                f"storage lists {len(now['stored'])} of {now['count']} parts, and no more come"
            )
        return now

    async def _put_part(
        self, link: PartLinkDocument, parts: PartsDocument, recording: Recording
    ) -> None:
        first = (link["number"] - 1) * parts["part_bytes"]
        part = FileSlice(recording.path, first, link["size_bytes"])
        await self._put(link["url"], {"Content-Length": str(link["size_bytes"])}, part)

    async def _put(self, url: str, headers: dict[str, str], content: FileSlice) -> None:
        # With the headers that the link is signed for and no others: it is its own permission.
        call = Call("PUT", url, headers, content=content, silence_s=_SILENCE_S)
        await self.caller.send(call)

    async def _parts(self, upload_id: str) -> PartsDocument:
        return await self.caller.get(f"/uploads/{upload_id}/parts", PartsDocument)

    async def _offload(self, work: Callable[[], Result]) -> Result:
        return await self.caller.io.offload(work)
