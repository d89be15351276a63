"""The two ways to users' addresses: a source fetched from one, a result put to one.

What an address does wrong is its user's to mend: a source that does not come
fails the job for good with the reason, after some attempts where time may heal
it; a result that cannot be put is a note of a job that succeeds, since our own
copy is there.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Final, TypeVar

from clearstem import media
from clearstem.addresses import file_name_of
from clearstem.errors import (
    MissingFile,
    RequestError,
    SourceNotFetched,
    UnsupportedFormat,
    UrlFailed,
    UrlRefused,
    UrlUnreachable,
)
from clearstem.facts import Source
from clearstem.guarded import Fetched, GuardedClient
from containers.audio.stream import Progress
from containers.workspace import Workspace

Result = TypeVar("Result")

# Before the second, third and fourth attempt: half a minute heals a restart or
# an overload; what is worse is not worth a task that waits.
_PAUSES_S: Final = (1.0, 5.0, 20.0)


def fetch_source(
    space: Workspace,
    progress: Progress,
    *,
    client: GuardedClient | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Bring the source from its address to its place in storage, and tell the job's record.

    A source that is there already, or that was uploaded, is left alone. `space`
    has the changed job afterwards.

    Parameters
    ----------
    progress : callable
        Told bytes come and bytes in all (the limit, where the address announces none).

    Raises
    ------
    SourceNotFetched
        The address gives no recording; the message says what it gives.
    JobIsOver
        The job was cancelled meanwhile.
    """
    url = space.job.source.url
    if url is None or space.job.source.size_bytes:
        return
    calling = client or GuardedClient.of(space.settings)
    try:
        source = _persistent(
            lambda: _fetch(space, url, calling, progress), within_s=calling.total_s, sleep=sleep
        )
    except (UrlFailed, RequestError) as exc:
        raise SourceNotFetched(f"the recording could not be fetched: {exc}") from exc
    space.job = space.tell_fetched(source)


def deliver(
    space: Workspace,
    path: Path,
    *,
    content_type: str,
    client: GuardedClient | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> str | None:
    """Put a result to the job's output address.

    Returns
    -------
    str or None
        None: it was taken, or the job has no such address. Else a note for the
        job that says why it was not.
    """
    url = space.job.output_url
    if url is None:
        return None
    calling = client or GuardedClient.of(space.settings)
    try:
        _persistent(
            lambda: calling.put(url, path, content_type=content_type),
            within_s=calling.total_s,
            sleep=sleep,
        )
    except (UrlFailed, UrlRefused) as exc:
        return f"the result was not put to the output address, only kept here: {exc}"
    return None


def _persistent(
    attempt: Callable[[], Result], *, within_s: float, sleep: Callable[[float], None]
) -> Result:
    """The result of the first attempt that does not find the address unreachable.

    None begins later than `within_s` after the first: a peer that breaks off
    just before its time is over gets no further task's time for it.
    """
    began, tries = time.monotonic(), 0
    while True:
        try:
            return attempt()
        except UrlUnreachable as exc:
            tries += 1
            if tries > len(_PAUSES_S) or time.monotonic() - began >= within_s:
                told = "once" if tries == 1 else f"{tries} times"
                raise UrlUnreachable(f"{exc} (tried {told})") from exc
            sleep(_PAUSES_S[tries - 1])


def _fetch(space: Workspace, url: str, client: GuardedClient, progress: Progress) -> Source:
    limit = space.settings.max_upload_bytes
    with client.fetch(url, max_bytes=limit) as answer:
        source = _named(space, answer)
        accepted = space.job.recipe.inputs
        total = answer.size_bytes or limit
        writer = space.store.writer(
            source.location,
            content_type=media.content_type(source.extension),
            max_bytes=limit,
        )
        with writer:
            for chunk in answer.chunks:
                writer.write(chunk)
                if len(writer.head) == media.HEAD_BYTES:
                    media.check_head(writer.head, name=source.file_name, accepted=accepted)
                progress(writer.size_bytes, total)
            # Again, for what is shorter than a head.
            media.check_head(writer.head, name=source.file_name, accepted=accepted)
    return replace(source, size_bytes=writer.size_bytes)


def _named(space: Workspace, answer: Fetched) -> Source:
    """The source with its name and format, as the address or its answer tells them."""
    source, accepted = space.job.source, space.job.recipe.inputs
    if source.extension:
        return source
    for name in filter(None, (answer.file_name, file_name_of(answer.url))):
        extension = PurePosixPath(name).suffix.lower().removeprefix(".")
        if extension in accepted:
            return replace(source, file_name=_clean(name), extension=extension)
    told = media.extension_of_type(answer.content_type)
    if told not in accepted or told is None:
        raise UnsupportedFormat(
            "neither the address nor its Content-Disposition or Content-Type "
            f"({answer.content_type[:80] or 'none'}) names a format out of {', '.join(accepted)}"
        )
    return replace(source, file_name=f"{source.file_name}.{told}", extension=told)


def _clean(name: str) -> str:
    try:
        return media.file_name(name)
    except MissingFile:
        return "recording"
