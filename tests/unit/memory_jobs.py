"""The job table in memory: the same answers to the same calls, without AWS."""

from collections.abc import Container, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime

from clearstem.errors import JobExists, JobNotFound
from clearstem.job_events import JobEvent, logged
from clearstem.job_table import Transition
from clearstem.jobs import Job, JobState


@dataclass
class MemoryJobs:
    """What `JobTable` offers to stages and settlers, held to the same contract."""

    stored: dict[str, Job] = field(default_factory=dict)
    log: dict[str, list[JobEvent]] = field(default_factory=dict)
    issued: int = 0
    rounds: dict[str, int] = field(default_factory=dict)

    def create(self, job: Job) -> Job:
        if job.job_id in self.stored:
            raise JobExists(f"Job {job.job_id} exists already")
        return self._store(None, self._ticketed(job))

    def get(self, job_id: str) -> Job:
        if job_id not in self.stored:
            raise JobNotFound("Job not found")
        return self.stored[job_id]

    def change(self, job_id: str, transition: Transition) -> Job:
        seen = self.get(job_id)
        changed = transition(seen)
        if changed == seen:
            return seen
        if changed.state is JobState.QUEUED and seen.state is not JobState.QUEUED:
            changed = self._ticketed(changed)
        return self._store(seen, replace(changed, version=seen.version + 1))

    def _ticketed(self, job: Job) -> Job:
        """The next ticket of the owner's next round, as `clearstem.tickets` issues them."""
        waiting = [j for j in self.stored.values() if self._stand_in_line(j, job)]
        last = max(self.rounds.values(), default=0)
        served = min((j.ticket // 10**12 - 1 for j in waiting), default=last)
        turn = max(served, self.rounds.get(job.owner, 0)) + 1
        self.rounds[job.owner] = turn
        self.issued += 1
        return replace(job, ticket=turn * 10**12 + self.issued)

    @staticmethod
    def _stand_in_line(job: Job, other: Job) -> bool:
        return job.state is JobState.QUEUED and job.recipe_name == other.recipe_name

    def _store(self, seen: Job | None, job: Job) -> Job:
        job, events = logged(seen, job)
        self.stored[job.job_id] = job
        self.log.setdefault(job.job_id, []).extend(events)
        return job

    def unfinished(
        self, recipe_name: str, *, before: datetime, without: Container[str] = ()
    ) -> Iterator[Job]:
        for job in sorted(self.stored.values(), key=lambda job: job.updated_at):
            old = job.updated_at < before and job.recipe_name == recipe_name
            if job.job_id in without:
                continue
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
