"""The course of a job as documents: its log, its deletion.

They are clearstem's own, not part of any published API, and are spelled like
the pipeline dialect's.
"""

from typing_extensions import TypedDict  # pydantic asks for this one below Python 3.12

from clearstem.errors import JobDeleted
from clearstem.job_events import JobEvent
from clearstem.quotes import Quote
from clearstem.retention import Receipt
from functions.dialects import problems
from functions.dialects.pipeline import cache_document, engine_document, timestamp
from functions.dialects.pipeline_documents import (
    CacheDocument,
    EngineDocument,
    ProblemDocument,
    ReasonDocument,
)


class EventDocument(TypedDict):
    """One entry of a job's log; webhooks carry the same names of types."""

    number: int
    type: str
    at: str
    attempt: int
    percent: float
    stage: str | None
    error: str | None


class EventsDocument(TypedDict):
    """Some entries of a job's log, oldest first, and where the next ones begin."""

    events: list[EventDocument]
    last: int
    more: bool


class ReceiptDocument(TypedDict):
    """What was deleted of a job; messages of webhooks on their way go when they are over."""

    job_id: str
    state: str
    created_at: str
    deleted_at: str
    files: int
    size_bytes: int
    source_kept: bool
    record_kept: bool
    deliveries: int
    deliveries_pending: int


class DeletedDocument(ProblemDocument):
    """A job that was deleted, and what went with it."""

    receipt: ReceiptDocument


class ReceiptsDocument(TypedDict):
    """Some of an owner's deleted jobs, the last submitted first."""

    receipts: list[ReceiptDocument]
    next_cursor: str | None


class RetentionDocument(TypedDict):
    """How long jobs are kept that say nothing of it themselves, in hours; null: for ever."""

    retention_hours: float | None


class QuoteDocument(TypedDict):
    """What a job would take, by jobs like it, and `refusal`: the limit it would not fit in."""

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


def event_document(event: JobEvent) -> EventDocument:
    """One event."""
    return {
        "number": event.number,
        "type": event.kind.value,
        "at": timestamp(event.at),
        "attempt": event.attempt,
        "percent": event.percent,
        "stage": event.stage,
        "error": event.error,
    }


def events_document(events: tuple[JobEvent, ...], *, after: int, limit: int) -> EventsDocument:
    """A page of events that were asked for from `after` on."""
    return {
        "events": [event_document(event) for event in events],
        "last": events[-1].number if events else after,
        "more": len(events) == limit,
    }


def receipt_document(receipt: Receipt) -> ReceiptDocument:
    """A deletion's receipt."""
    return {
        "job_id": receipt.job_id,
        "state": receipt.state.value,
        "created_at": timestamp(receipt.created_at),
        "deleted_at": timestamp(receipt.deleted_at),
        "files": receipt.files,
        "size_bytes": receipt.size_bytes,
        "source_kept": receipt.source_kept,
        "record_kept": receipt.record_kept,
        "deliveries": receipt.deliveries,
        "deliveries_pending": receipt.deliveries_pending,
    }


def receipts_document(receipts: tuple[Receipt, ...], *, cursor: str | None) -> ReceiptsDocument:
    """A page of receipts."""
    return {"receipts": [receipt_document(each) for each in receipts], "next_cursor": cursor}


def deleted(receipt: Receipt) -> JobDeleted:
    """What is told who asks for a job that was deleted: when, and what went with it."""
    document = receipt_document(receipt)
    return JobDeleted(
        f"the job was deleted at {document['deleted_at']}", facts={"receipt": document}
    )


def quote_document(quote: Quote) -> QuoteDocument:
    """A quote."""
    return {
        "dry_run": True,
        "engine": engine_document(quote.job),
        "audio_s": None if quote.audio_s is None else round(quote.audio_s, 3),
        "seconds": None if quote.seconds is None else round(quote.seconds, 1),
        "stages": {name: round(seconds, 1) for name, seconds in quote.stage_s.items()},
        "jobs_ahead": quote.jobs_ahead,
        "based_on": quote.based_on,
        "dollars": None if quote.dollars is None else round(quote.dollars, 6),
        "stage_dollars": {name: round(value, 6) for name, value in quote.stage_dollars.items()},
        "cache": cache_document(quote.cached.job_id if quote.cached else None),
        "refusal": problems.reason(quote.refusal) if quote.refusal else None,
    }
