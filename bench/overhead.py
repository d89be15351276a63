"""What a job costs beside its stages' own processes, on the local twin.

From the job's creation to its success, less the time the four stage processes
ran. Goal: 2 s.
"""

import os
import subprocess
import sys
import tempfile
from datetime import datetime
from pathlib import Path

import boto3

from bench.measure import Outcome, median, note
from clearstem.client import Client
from clearstem.service import Service
from clearstem.twin import running_twin, twin

_GOAL_S = 2.0
_JOBS = 3


def measure() -> list[Outcome]:
    """Median over three jobs of an eight second song, one after the other."""
    with tempfile.TemporaryDirectory(prefix="clearstem-bench-") as folder:
        song, state = Path(folder) / "song.wav", Path(folder) / "state"
        command = [sys.executable, "-m", "containers.audio.song", str(song), "8"]
        subprocess.run(command, check=True)
        with twin(state=state, models=Path(folder) / "models") as url, Client(url) as client:
            os.environ.update(running_twin(state).environment)
            seconds = [_overhead(client, song) for _ in range(_JOBS)]
    return [Outcome("overhead", median(seconds), None, None, _GOAL_S, None)]


def _overhead(client: Client, song: Path) -> float:
    job_id = client.separate(song, {"cache": False})["job_id"]
    *_, done = client.watch(job_id)
    if done["status"] != "completed":
        raise RuntimeError(done["error"])
    job = Service.from_env().jobs.get(job_id)
    total = (job.updated_at - job.created_at).total_seconds()
    inside = _process_seconds(since=job.created_at)
    note(f"job {total:.2f} s, its processes {inside:.2f} s")
    return total - inside


def _process_seconds(*, since: datetime) -> float:
    """Seconds that the Batch jobs submitted since then ran."""
    batch = boto3.client("batch")
    queues = [q["jobQueueName"] for q in batch.describe_job_queues()["jobQueues"]]
    ids = [
        job["jobId"]
        for queue in queues
        for status in ("RUNNING", "SUCCEEDED")
        for job in batch.list_jobs(jobQueue=queue, jobStatus=status)["jobSummaryList"]
    ]
    jobs = batch.describe_jobs(jobs=ids)["jobs"]
    begun = since.timestamp() * 1000
    ours = [job for job in jobs if job["createdAt"] >= begun]
    # The last process may still be on its way out when the job has succeeded.
    now = datetime.now().timestamp() * 1000
    return sum(job.get("stoppedAt", now) - job["startedAt"] for job in ours) / 1000
