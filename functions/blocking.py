"""Where calls that block go, so that the event loop never waits for AWS.

Short calls, submits and long transfers have threads of their own: twenty uploads
waiting for storage must not keep a poll of a job's status waiting, and neither
must jobs that a stored result answers, whose files are copied for as long.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import Final, ParamSpec, TypeVar

Result = TypeVar("Result")
Given = ParamSpec("Given")

# More threads than this only wait for each other's GIL.
_CALLS: Final = 8
# More at once only lose races against each other for the queue's next ticket.
_SUBMITS: Final = 8
# A transfer waits for the network nearly all of its time.
_TRANSFERS: Final = 32


class Blocking:
    """Three pools of threads; they start as they are needed.

    What runs in them has the caller's context: its log lines carry the request's id.
    """

    def __init__(self) -> None:
        self._calls = ThreadPoolExecutor(_CALLS, thread_name_prefix="call")
        self._submits = ThreadPoolExecutor(_SUBMITS, thread_name_prefix="submit")
        self._transfers = ThreadPoolExecutor(_TRANSFERS, thread_name_prefix="transfer")

    async def call(
        self, function: Callable[Given, Result], *args: Given.args, **kwargs: Given.kwargs
    ) -> Result:
        """Run a short call in a thread and return what it returns."""
        return await _run(self._calls, partial(function, *args, **kwargs))

    async def submit(
        self, function: Callable[Given, Result], *args: Given.args, **kwargs: Given.kwargs
    ) -> Result:
        """Run a call that makes a job in a thread and return what it returns."""
        return await _run(self._submits, partial(function, *args, **kwargs))

    async def transfer(
        self, function: Callable[Given, Result], *args: Given.args, **kwargs: Given.kwargs
    ) -> Result:
        """Run a call that moves bytes in a thread and return what it returns."""
        return await _run(self._transfers, partial(function, *args, **kwargs))

    async def opened(self, source: Iterator[bytes]) -> AsyncIterator[bytes]:
        """The chunks of a blocking iterator, the first of them pulled already.

        So what cannot be opened raises here, before an answer has begun.
        """
        first = await self.transfer(next, source, b"")
        return self._chunks(first, source)

    async def _chunks(self, first: bytes, source: Iterator[bytes]) -> AsyncIterator[bytes]:
        pull: Future[bytes] = Future()
        pull.set_result(first)
        try:
            while chunk := await asyncio.wrap_future(pull):
                yield chunk
                pull = self._transfers.submit(next, source, b"")
        finally:
            # Also where the reader goes away. A generator that a thread is
            # just running cannot be closed here; that thread does it then.
            close = getattr(source, "close", None)
            if close is not None:
                pull.add_done_callback(lambda _: close())


async def _run(pool: ThreadPoolExecutor, task: Callable[[], Result]) -> Result:
    return await asyncio.get_running_loop().run_in_executor(pool, partial(copy_context().run, task))
