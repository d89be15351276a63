"""A form with a recording in it, on its way from the wire to storage.

The recording is passed on as it comes. Storage shows it only once the whole
form has been read and found good: a broken body, a wrong option, a file that
is no sound and a client that goes away leave no object behind.
"""

from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Final, Generic, TypeVar

from clearstem import media
from clearstem.errors import InvalidRequest, MissingFile
from clearstem.intake import Intake
from clearstem.options import Options, read_options
from clearstem.recipes import SEPARATE, Recipe
from clearstem.track_store import ObjectWriter
from clearstem.uploads import Upload
from functions.attached import FIELDS, Attached, attached
from functions.blocking import Blocking
from functions.multipart import FormEvent, FormReader, PartBegins, PartData, PartEnds

Read = TypeVar("Read")

# A change of thread for every 64 KiB that the socket gives would cost more
# than the copy into this.
_BLOCK_BYTES: Final = media.MEBIBYTE
# Ten options are known; browsers' form libraries add a field or two.
_MOST_FIELDS: Final = 16
_FIELD_BYTES: Final = 8192  # the longest address that is called


@dataclass(frozen=True, slots=True)
class Form(Generic[Read]):
    """What a form is to hold.

    Attributes
    ----------
    read : callable
        Makes of the other fields what is wanted of them; raises `InvalidRequest`
        where they are wrong.
    file_field : str
        The field that is the recording.
    recipe : Recipe
        Which formats it may have.
    max_bytes : int or None
        The largest recording; None is the deployment's limit.
    extension : str or None
        What the recording is, whatever its name says.
    """

    read: Callable[[Mapping[str, str]], Read]
    file_field: str = "file"
    recipe: Recipe = SEPARATE
    max_bytes: int | None = None
    extension: str | None = None


def with_attached(
    read: Callable[[Mapping[str, str]], Read],
) -> Callable[[Mapping[str, str]], tuple[Read, Attached]]:
    """What reads the fields attached to a job as well, beside what `read` makes of the others."""

    def reading(fields: Mapping[str, str]) -> tuple[Read, Attached]:
        others = {name: value for name, value in fields.items() if name not in FIELDS}
        return read(others), attached(fields)

    return reading


def form_of(recipe: Recipe) -> Form[tuple[Options, Attached]]:
    """The form of a recipe's options, by the pipeline dialect's names, and what is attached."""
    return Form(with_attached(lambda given: read_options(recipe, given)), recipe=recipe)


async def receive_form(
    body: AsyncIterable[bytes],
    *,
    form: Form[Read],
    content_type: str,
    owner: str,
    intake: Intake,
    blocking: Blocking,
) -> tuple[Upload, Read]:
    """Store the form's file and read its other fields.

    Returns
    -------
    Upload, Read
        The stored upload with its hash, ready for
        `Intake.submit_received` or `Intake.keep`, and what `form.read`
        made of the fields.

    Raises
    ------
    InvalidRequest, TooLarge
        Nothing was stored; the message says why.
    """
    reader = FormReader(content_type)
    async with AsyncExitStack() as stack:
        received = _Received(form, intake, owner=owner, blocking=blocking, stack=stack)
        async for chunk in body:
            for event in reader.feed(chunk):
                await received.take(event)
        reader.finish()
        return received.result()


class _Received(Generic[Read]):
    """What has come of one form so far."""

    def __init__(
        self,
        form: Form[Read],
        intake: Intake,
        *,
        owner: str,
        blocking: Blocking,
        stack: AsyncExitStack,
    ) -> None:
        self._form = form
        self._intake = intake
        self._owner = owner
        self._blocking = blocking
        self._stack = stack
        self._fields: dict[str, str] = {}
        self._field: str | None = None  # None: the present part is the file
        self._buffer = bytearray()
        self._upload: Upload | None = None
        self._writer: ObjectWriter | None = None

    async def take(self, event: FormEvent) -> None:
        match event:
            case PartBegins(name=name, file_name=file_name):
                await self._begin(name, file_name)
            case PartData(data=data):
                self._buffer += data
                if self._field is not None and len(self._buffer) > _FIELD_BYTES:
                    raise InvalidRequest(f"field {self._field!r} is longer than {_FIELD_BYTES}")
                if self._field is None and len(self._buffer) >= _BLOCK_BYTES:
                    await self._write()
            case PartEnds():
                await self._end()

    def result(self) -> tuple[Upload, Read]:
        """The upload and the fields, if they are fit for a job."""
        if self._upload is None or self._writer is None:
            raise MissingFile("No filename provided")
        self._check_head(self._upload, self._writer)
        stored = replace(
            self._upload, sha256=self._writer.sha256, held_bytes=self._writer.size_bytes
        )
        return stored, self._form.read(self._fields)

    async def _begin(self, name: str, file_name: str | None) -> None:
        if name == self._form.file_field:
            self._field = None
            await self._open(file_name)
        elif file_name is not None:
            wanted = self._form.file_field
            raise MissingFile(f"No filename provided for the field {wanted!r}, only {name!r}")
        elif len(self._fields) >= _MOST_FIELDS:
            raise InvalidRequest(f"the form has more than {_MOST_FIELDS} fields")
        else:
            self._field = name

    async def _open(self, file_name: str | None) -> None:
        if self._upload is not None:
            raise InvalidRequest("the form has more than one file; send one file a request")
        self._upload = await self._blocking.call(
            self._intake.expect,
            owner=self._owner,
            file_name=self._named(file_name),
            recipe=self._form.recipe,
        )
        writer = self._intake.writer(self._upload, max_bytes=self._form.max_bytes)
        self._writer = await self._stack.enter_async_context(_opened(writer, self._blocking))

    async def _end(self) -> None:
        if self._field is None:
            await self._write()
            return
        try:
            self._fields[self._field] = self._buffer.decode().strip()
        except UnicodeDecodeError as exc:
            raise InvalidRequest(f"field {self._field!r} is not UTF-8 text") from exc
        self._buffer.clear()

    async def _write(self) -> None:
        if self._upload is None or self._writer is None or not self._buffer:
            return
        block = bytes(self._buffer)
        self._buffer.clear()
        await self._blocking.transfer(self._writer.write, block)
        # With the first block, so that a large file that is no sound is not
        # taken in to its end.
        self._check_head(self._upload, self._writer)

    def _named(self, file_name: str | None) -> str | None:
        asked = self._form.extension
        if not asked or file_name is None:
            return file_name
        return media.with_extension(file_name, asked, accepted=self._form.recipe.inputs)

    def _check_head(self, upload: Upload, writer: ObjectWriter) -> None:
        inputs = self._form.recipe.inputs
        media.check_head(writer.head, name=upload.file_name, accepted=inputs)


@asynccontextmanager
async def _opened(writer: ObjectWriter, blocking: Blocking) -> AsyncIterator[ObjectWriter]:
    """A writer as an asynchronous context: its last part, too, is sent in a thread."""
    try:
        yield writer
    except BaseException as exc:
        # A cancelled request must still give back the parts it has stored.
        await blocking.transfer(writer.__exit__, type(exc), exc, exc.__traceback__)
        raise
    await blocking.transfer(writer.__exit__, None, None, None)
