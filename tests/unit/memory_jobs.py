"""The job table in memory: the same answers to the same calls, without AWS."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime

from clearstem.errors import JobExists, JobNotFound
from clearstem.job_table import Transition
from clearstem.jobs import Job, JobState


@dataclass
class MemoryJobs:
    """What `JobTable` offers to stages and settlers, held to the same contract."""

    stored: dict[str, Job] = field(default_factory=dict)
    issued: int = 0

    def create(self, job: Job) -> Job:
        if job.job_id in self.stored:
            raise JobExists(f"Job {job.job_id} exists already")
        self.issued += 1
        self.stored[job.job_id] = replace(job, ticket=self.issued)
        return self.stored[job.job_id]

    def get(self, job_id: str) -> Job:
        if job_id not in self.stored:
            raise JobNotFound("Job not found")
        return self.stored[job_id]

    def change(self, job_id: str, transition: Transition) -> Job:
        seen = self.get(job_id)
        changed = transition(seen)
        if changed != seen:
            self.stored[job_id] = replace(changed, version=seen.version + 1)
        return self.stored[job_id]

    def unfinished(self, recipe_name: str, *, before: datetime) -> Iterator[Job]:
        for job in sorted(self.stored.values(), key=lambda job: job.updated_at):
            old = job.updated_at < before and job.recipe_name == recipe_name
            if old and not self.stored[job.job_id].state.is_final:
                yield job

    def jobs_ahead(self, job: Job) -> int:
        if job.state is not JobState.QUEUED:
            return 0
        return sum(
            other.state is JobState.QUEUED
            and other.recipe_name == job.recipe_name
            and other.ticket < job.ticket
            for other in self.stored.values()
        )
