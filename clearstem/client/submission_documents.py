"""What the API answers where jobs are asked for: quotes, and what became of each job of several."""

from typing import NotRequired, TypedDict

from clearstem.client.documents import CacheDocument, EngineDocument, JobDocument


class ReasonDocument(TypedDict):
    """Why a job is not made, or would not be; of a limit with its name, value and end."""

    type: str
    title: str
    status: int
    detail: str
    name: str
    limit: NotRequired[str]
    value: NotRequired[str | float | bool | None]
    used: NotRequired[float]
    resets_at: NotRequired[str | None]
    retry_after_s: NotRequired[int]


class QuoteDocument(TypedDict):
    """What a job would take; seconds and dollars are estimates from jobs like it."""

    dry_run: bool
    engine: EngineDocument
    audio_s: float | None
    seconds: float | None
    stages: dict[str, float]
    jobs_ahead: int
    based_on: int
    dollars: float | None
    stage_dollars: dict[str, float]
    cache: CacheDocument
    refusal: ReasonDocument | None


class ResultDocument(TypedDict):
    """What became of one job of a batch: the job, or why there is none."""

    status: int
    job: JobDocument | None
    detail: str | None
    problem: ReasonDocument | None


class BatchDocument(TypedDict):
    """What became of each, in the order they were asked for."""

    results: list[ResultDocument]
