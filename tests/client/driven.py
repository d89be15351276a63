"""The two clients behind one face, so that each test holds for both."""

import asyncio
from collections.abc import Iterator
from operator import attrgetter
from typing import Any

from clearstem.client import AsyncClient, Client, Retry
from clearstem.client.asynchronous import AnyPath

KINDS = ("sync", "async")
# As patient as the real one, but for the waiting.
QUICK = Retry(attempts=4, base_s=0.01, cap_s=0.02)


class Driven:
    """Calls `Client` or `AsyncClient`; what they iterate over comes as a list."""

    def __init__(self, kind: str, *, state_dir: AnyPath) -> None:
        self.kind = kind
        self.state_dir = state_dir

    def call(self, url: str, name: str, *args: Any, key: str = "", **kwargs: Any) -> Any:
        settings: Any = {"retry": kwargs.pop("retry", QUICK), "key": key or None}
        settings["token"] = kwargs.pop("token", None)
        settings["state_dir"] = self.state_dir
        if self.kind == "async":
            return asyncio.run(_awaited(AsyncClient(url, **settings), name, args, kwargs))
        with Client(url, **settings) as client:
            found = attrgetter(name)(client)(*args, **kwargs)
            return list(found) if isinstance(found, Iterator) else found

    def watch(self, url: str, job_id: str, **kwargs: Any) -> tuple[list[Any], Any]:
        """The states of a job, and the watch after its end."""
        if self.kind == "async":
            return asyncio.run(_watched(url, job_id, kwargs))
        with Client(url, retry=QUICK) as client:
            watch = client.watch(job_id, **kwargs)
            return list(watch), watch


async def _awaited(client: AsyncClient, name: str, args: Any, kwargs: Any) -> Any:
    async with client:
        found = attrgetter(name)(client)(*args, **kwargs)
        if hasattr(found, "__aiter__"):
            return [item async for item in found]
        return await found


async def _watched(url: str, job_id: str, kwargs: Any) -> tuple[list[Any], Any]:
    async with AsyncClient(url, retry=QUICK) as client:
        watch = client.watch(job_id, **kwargs)
        return [state async for state in watch], watch
