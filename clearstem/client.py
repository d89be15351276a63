"""A client of the pipeline API, as the command line uses it.

Answers are the API's own JSON documents. Uploads and downloads are streamed;
a job is watched over WebSocket and, where that does not get through, by
asking again.
"""

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import httpx
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

from clearstem.errors import ClearstemError

Document = dict[str, Any]

# A song is uploaded in the time the line takes; everything else answers fast.
_TIMEOUT: Final = httpx.Timeout(30.0, read=300.0, write=300.0)
_POLL_S: Final = 1.0


class CallFailed(ClearstemError):
    """The API refused a call; the message is its own.

    Attributes
    ----------
    status : int
        Of the HTTP answer.
    """

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


class Client:
    """One clearstem server.

    Parameters
    ----------
    url : str
        Its base URL.
    key : str or None
        The API key, where the server asks for one.
    """

    def __init__(self, url: str, *, key: str | None = None) -> None:
        self._headers = {"x-api-key": key} if key else {}
        self._url = url.rstrip("/")
        self._http = httpx.Client(
            base_url=self._url, headers=self._headers, timeout=_TIMEOUT, follow_redirects=True
        )

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def config(self) -> Document:
        """What the server takes and which engine it would choose."""
        return self._call("GET", "/config")

    def job(self, job_id: str) -> Document:
        """The job as it is now."""
        return self._call("GET", f"/job/{job_id}")

    def separate(self, file: Path, options: Mapping[str, str]) -> Document:
        """Send a recording and start its separation; answers the job."""
        return self._process(file, options, recipe="separate")

    def denoise(self, file: Path, options: Mapping[str, str]) -> Document:
        """Send a recording, audio or video, and start its noise removal; answers the job."""
        return self._process(file, options, recipe="denoise")

    def jobs(
        self, *, status: str = "", recipe: str = "", labels: Iterable[str] = (), limit: int = 20
    ) -> Iterator[Document]:
        """The caller's newest jobs that are like that, `limit` at the most.

        Parameters
        ----------
        labels : iterable of str
            Each ``name:value``; a job has to bear them all.
        """
        asked = {"status": status, "recipe": recipe, "label": list(labels), "limit": limit}
        query: dict[str, Any] = {name: value for name, value in asked.items() if value}
        left = limit
        while left:
            page = self._call("GET", "/jobs", params=query)
            for job in page["jobs"][:left]:
                left -= 1
                yield job
            if page["next_cursor"] is None:
                return
            query["cursor"] = page["next_cursor"]

    def cancel(self, job_id: str) -> Document:
        """Stop a job; answers it as it is then."""
        return self._call("POST", f"/job/{job_id}/cancel")

    def retry(self, job_id: str) -> Document:
        """Take a failed job up again; answers it as it is then."""
        return self._call("POST", f"/job/{job_id}/retry")

    def delete(self, job_id: str) -> Document:
        """Delete a job with all its files; answers the receipt."""
        return self._call("DELETE", f"/job/{job_id}")

    def events(self, job_id: str, *, after: int = 0) -> Iterator[Document]:
        """What happened to a job so far, behind the event of that number."""
        more = True
        while more:
            page = self._call("GET", f"/job/{job_id}/events", params={"after": after})
            yield from page["events"]
            after, more = page["last"], page["more"]

    def watch(self, job_id: str) -> Iterator[Document]:
        """The job's states as they come, up to the final one."""
        try:
            yield from self._pushed(job_id)
        except (OSError, WebSocketException, TimeoutError):
            yield from self._polled(job_id)

    def download(self, path: str, *, to: Path) -> None:
        """Fetch an output to a file, which appears when it is whole."""
        partial = to.with_name(to.name + ".partial")
        with self._http.stream("GET", path) as answer, partial.open("wb") as file:
            if answer.is_error:
                answer.read()
            _check(answer)
            for chunk in answer.iter_bytes():
                file.write(chunk)
        partial.replace(to)

    def _process(self, file: Path, options: Mapping[str, str], *, recipe: str) -> Document:
        with file.open("rb") as stream:
            files = {"file": (file.name, stream)}
            return self._call(
                "POST", "/process", params={"recipe": recipe}, files=files, data=dict(options)
            )

    def _pushed(self, job_id: str) -> Iterator[Document]:
        scheme, *rest = urlsplit(f"{self._url}/v1/wss/job/{job_id}")
        url = urlunsplit(("wss" if scheme == "https" else "ws", *rest))
        with connect(url, additional_headers=self._headers) as socket:
            for frame in socket:
                job: Document = json.loads(frame)
                yield job
                if is_final(job):
                    return
        # Closed before the end, by a restart say: ask instead.
        yield from self._polled(job_id)

    def _polled(self, job_id: str) -> Iterator[Document]:
        while True:
            job = self.job(job_id)
            yield job
            if is_final(job):
                return
            time.sleep(_POLL_S)

    def _call(self, method: str, path: str, **content: Any) -> Document:
        answer = self._http.request(method, path, **content)
        _check(answer)
        document: Document = answer.json()
        return document


def is_final(job: Document) -> bool:
    """Whether a job document is the last of its job."""
    return bool(job["status"] != "processing")


def _check(answer: httpx.Response) -> None:
    if not answer.is_error:
        return
    try:
        detail = str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        detail = answer.text or answer.reason_phrase
    raise CallFailed(answer.status_code, detail)
