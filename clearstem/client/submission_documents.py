"""What the API answers where jobs are asked for: quotes, and what became of each job of several."""

from typing import NotRequired, TypedDict

from clearstem.client.documents import CacheDocument, EngineDocument, JobDocument


class AcceptedDocument(TypedDict, total=False):
    """What would have been taken; which of the fields are there depends on the field."""

    minimum: float | str
    maximum: float | str
    above: float
    below: float
    min_length: int
    max_length: int
    pattern: str
    one_of: list[str]


class ReasonDocument(TypedDict):
    """Why a job is not made, or would not be.

    Of a field with its name, its value and what would have been taken; of a limit with its name,
    value and end.
    """

    type: str
    title: str
    status: int
    detail: str
    name: str
    field: NotRequired[str]
    value: NotRequired[str | float | bool | None]
    accepted: NotRequired[AcceptedDocument]
    limit: NotRequired[str]
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
