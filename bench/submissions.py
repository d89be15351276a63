"""How fast three hundred submissions of five owners are taken in, and whether all is right then.

On a local twin whose state machine only waits, so that both cores serve the
API: each owner sends sixty `POST /jobs` on one recording of his, all three
hundred of them at once. Measured is from each request to its answer. Then the
truth is read out of the table and held against what the API told: each
submission is one job and no more, `jobsAhead` is each job's true place, owners
take turns; and each owner's webhook has been told of each of his jobs, of its
beginning and of its end, which comes by cancelling them all.
"""

import http.client
import json
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from bench.crowd import OWNERS, SUBMISSIONS, Submitted, Waiting, queue_faults, submit_all
from bench.measure import Outcome, note
from bench.silence import silence
from bench.stages import storage
from clearstem.jobs import Job
from clearstem.service import Service
from clearstem.twin import running_twin
from clearstem.webhook_receiver import Inbox, Received, receiver

Done = TypeVar("Done")

# After so long API Gateway would answer in the service's stead.
_GOAL_S: Final = 29.0
_PATIENCE_S: Final = 240.0
_TOLD: Final = ("job.queued", "job.cancelled")
# Many at a time once nothing is measured any more.
_AT_ONCE: Final = 16
_WAITING: Final = json.dumps(
    {"StartAt": "Wait", "States": {"Wait": {"Type": "Wait", "Seconds": 3600, "End": True}}}
)


@dataclass(frozen=True, slots=True)
class Owner:
    """One of the crowd: his key, and the recording that he sent."""

    key: str
    upload_id: str


@dataclass(frozen=True, slots=True)
class Api:
    """A server and those who call it.

    Attributes
    ----------
    service : Service
        The core behind it, where the truth is.
    """

    url: str
    service: Service
    owners: Mapping[str, Owner]

    def call(self, owner: str, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """One request on a connection of its own; its answer's JSON.

        Raises
        ------
        RuntimeError
            The answer is not 200.
        """
        address = urlsplit(self.url)
        connection = http.client.HTTPConnection(
            address.hostname or "localhost", address.port, timeout=_PATIENCE_S
        )
        text = None if body is None else json.dumps(body)
        sent = {"x-api-key": self.owners[owner].key, "Content-Type": "application/json", **headers}
        try:
            connection.request(method, path, text, sent)
            answer = connection.getresponse()
            document = answer.read()
        finally:
            connection.close()
        if answer.status != http.client.OK:
            raise RuntimeError(f"{method} {path}: {answer.status} {document[:300]!r}")
        return json.loads(document)

    def submit(self, owner: str, number: int) -> str:
        """Make a job of the owner's recording; its id."""
        body = {"upload_id": self.owners[owner].upload_id, "labels": {"number": str(number)}}
        key = {"Idempotency-Key": f"crowd-{number}"}
        return str(self.call(owner, "POST", "/jobs", body, **key)["job_id"])

    def ahead(self, owner: str, job_id: str) -> int:
        """How many jobs are said to be ahead of a job."""
        path = f"/v1/remove-noise/{job_id}/status"
        return int(self.call(owner, "GET", path)["jobsAhead"])

    def jobs(self, owner: str) -> list[str]:
        """The ids of all jobs of an owner."""
        found: list[str] = []
        cursor = ""
        while True:
            page = self.call(owner, "GET", f"/jobs?limit=100&cursor={cursor}")
            found += [job["job_id"] for job in page["jobs"]]
            cursor = page["next_cursor"]
            if not cursor:
                return found


@dataclass(slots=True)
class Ears:
    """What the owners' webhooks were told, by several threads."""

    heard: dict[str, set[str]] = field(default_factory=dict)
    refused: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, received: Received) -> None:
        """Note a message; those whose signature is not good are counted."""
        with self._lock:
            if received.document is None:
                self.refused += 1
                return
            job_id = received.document["data"]["job_id"]
            self.heard.setdefault(job_id, set()).add(received.document["type"])

    def await_all(self, job_ids: list[str], kind: str) -> int:
        """Wait for an event of every job; of how many it has not come."""
        end = time.perf_counter() + _PATIENCE_S
        while self._lacking(job_ids, kind) and time.perf_counter() < end:
            time.sleep(0.1)
        return self._lacking(job_ids, kind)

    def _lacking(self, job_ids: list[str], kind: str) -> int:
        with self._lock:
            return sum(kind not in self.heard.get(job_id, ()) for job_id in job_ids)


def measure() -> list[Outcome]:
    """The median and the 95th percentile, on a local twin of its own.

    Raises
    ------
    RuntimeError
        Something was lost, doubled or told wrongly; the message says what.
    """
    with tempfile.TemporaryDirectory(prefix="clearstem-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        service = stack.enter_context(storage(folder, models=folder / "models"))
        service.client("stepfunctions").update_state_machine(
            stateMachineArn=service.settings.separate_state_machine_arn, definition=_WAITING
        )
        url = running_twin(folder / "state").url
        api = Api(url, service, {owner: _joined(service, owner) for owner in OWNERS})
        ears = Ears()
        for owner in OWNERS:
            stack.enter_context(_listening(api, owner, ears))
        api.call(OWNERS[0], "GET", "/jobs")  # the connections to the table are open then
        begun = time.perf_counter()
        submitted = submit_all(api.submit, seed=4)
        elapsed_s = time.perf_counter() - begun
        faults = _faults(api, submitted, ears)
    if faults:
        raise RuntimeError("; ".join(faults[:5]))
    return _outcomes([each.latency_s for each in submitted], elapsed_s)


def _outcomes(latencies_s: list[float], elapsed_s: float) -> list[Outcome]:
    cuts = statistics.quantiles(latencies_s, n=100)
    note(
        f"POST /jobs: {SUBMISSIONS} at once by {len(OWNERS)} owners in {elapsed_s:.1f} s, "
        f"{SUBMISSIONS / elapsed_s:.0f} a second, p50 {cuts[49]:.2f} s, p95 {cuts[94]:.2f} s; "
        "each one job, in fair order, jobsAhead true, no event lost"
    )
    name = f"POST /jobs, {SUBMISSIONS} at once"
    return [
        Outcome(f"{name}, {label}", cuts[cut], None, None, _GOAL_S, None)
        for label, cut in (("p50", 49), ("p95", 94))
    ]


def _faults(api: Api, submitted: list[Submitted[str]], ears: Ears) -> list[str]:
    """What is not as it should be, before and after all jobs are cancelled."""
    faults = _miscounted(api, submitted)
    waiting = _each(lambda each: _place(api, each), submitted)
    faults += queue_faults(waiting)
    _each(lambda each: api.call(each.owner, "POST", f"/job/{each.answer}/cancel"), submitted)
    faults += _each(lambda each: _log_fault(api, each.answer), submitted)
    job_ids = [each.answer for each in submitted]
    for kind in _TOLD:
        lacking = ears.await_all(job_ids, kind)
        if lacking:
            faults.append(f"{kind} of {lacking} jobs came to no webhook")
    if ears.refused:
        faults.append(f"{ears.refused} messages had no good signature")
    return [fault for fault in faults if fault]


def _each(work: Callable[[Submitted[str]], Done], submitted: list[Submitted[str]]) -> list[Done]:
    """What the work on each submission comes to, some at a time."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(work, submitted))


def _miscounted(api: Api, submitted: list[Submitted[str]]) -> list[str]:
    """Owners who have not exactly the jobs that they were answered."""
    faults = []
    for owner in OWNERS:
        answered = sorted(each.answer for each in submitted if each.owner == owner)
        found = sorted(api.jobs(owner))
        if answered != found or len(set(found)) != SUBMISSIONS // len(OWNERS):
            faults.append(f"{owner} was answered {len(set(answered))} jobs and has {len(found)}")
    return faults


def _place(api: Api, each: Submitted[str]) -> Waiting:
    job: Job = api.service.jobs.get(each.answer)
    return Waiting(each.owner, job.ticket, api.ahead(each.owner, each.answer))


def _log_fault(api: Api, job_id: str) -> str:
    """What is wrong with the log of a job that was queued and cancelled; empty: nothing."""
    events = api.service.log.after(0, job_id=job_id)
    told = [(event.number, event.kind.value) for event in events]
    wanted = list(enumerate(_TOLD, start=1))
    return "" if told == wanted else f"the log of {job_id} is {told}"


def _joined(service: Service, owner: str) -> Owner:
    """An owner with a key and a recording of a second of silence."""
    key, _ = service.accounts.create_key(owner, at=service.now())
    upload = service.intake.announce(owner=owner, file_name="silence.wav")
    with service.intake.writer(upload) as writer:
        writer.write(silence())
    return Owner(key, upload.upload_id)


@contextmanager
def _listening(api: Api, owner: str, ears: Ears) -> Iterator[None]:
    """A webhook of an owner, and a receiver behind it that verifies."""
    inbox = Inbox("")
    with receiver(inbox, port=0, told=ears.take) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            url = f"http://127.0.0.1:{server.server_port}"
            made = api.call(owner, "POST", "/webhooks", {"url": url, "events": list(_TOLD)})
            inbox.secret = made["secret"]
            yield
        finally:
            server.shutdown()
