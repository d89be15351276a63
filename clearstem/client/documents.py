"""The API's JSON documents, as their types: what calls give, and what options they take.

A program of its own, this client shares no code with the functions that write
these documents; a test holds the two descriptions together.
"""

from typing import Required, TypedDict


class EngineDocument(TypedDict):
    """A separation engine: why it was taken, and whether it is a preview."""

    name: str
    model: str
    preview: bool
    reason: str
    sha256: str | None


class StageDocument(TypedDict):
    """One stage of a job."""

    name: str
    processor_type: str
    status: str
    started_at: str | None
    completed_at: str | None
    error: str | None
    duration_seconds: float | None
    percent: float


class LoudnessDocument(TypedDict):
    """What normalization measured and did (BS.1770-4)."""

    source_lufs: float | None
    main_lufs: float | None
    target_lufs: float
    ceiling_dbtp: float
    gain_db: float
    held_back_by: str | None
    gain: str
    limited: bool
    source_max_momentary_lufs: float | None
    source_max_short_term_lufs: float | None
    source_loudness_range_lu: float | None


class AudioDocument(TypedDict):
    """What the source turned out to be."""

    container: str
    codec: str
    rate_hz: int
    channels: int
    frames: int
    bit_depth: int | None
    duration_s: float


class SeparationDocument(TypedDict):
    """What made the stems."""

    engine: str
    model: str
    model_sha256: str | None
    device: str
    preview: bool
    residual_db: float | None
    versions: dict[str, str]
    backend: str
    precision: str


class DenoisingDocument(TypedDict):
    """What took the noise off."""

    engine: str
    model: str
    model_sha256: str | None
    strength: float
    versions: dict[str, str]


class TrackDocument(TypedDict):
    """One output in detail."""

    name: str
    url: str
    format: str
    frames: int
    size_bytes: int
    sha256: str
    true_peak_dbtp: float | None
    loudness_lufs: float | None
    max_momentary_lufs: float | None
    max_short_term_lufs: float | None
    loudness_range_lu: float | None


class FailureDocument(TypedDict):
    """Why a job failed, and in which stage."""

    stage: str | None
    name: str
    message: str


class StageCostDocument(TypedDict):
    """One stage that has ended: what it ran on, how long, and at what price."""

    name: str
    machine: str
    seconds: float
    dollars: float


class CostDocument(TypedDict):
    """What a job's stages took so far, in seconds, and cost, in dollars by AWS's list prices."""

    seconds: float
    dollars: float
    stages: list[StageCostDocument]


class CacheDocument(TypedDict):
    """Whether a stored result was the answer, and which job it was made by."""

    hit: bool
    job_id: str | None


class JobDocument(TypedDict):
    """A job; from ``percent`` on the fields are clearstem's own."""

    job_id: str
    status: str
    created_at: str
    stages: list[StageDocument]
    outputs: dict[str, str]
    percent: float
    file_name: str
    engine: EngineDocument
    loudness: LoudnessDocument | None
    audio: AudioDocument | None
    separation: SeparationDocument | None
    recipe: str
    denoising: DenoisingDocument | None
    tracks: list[TrackDocument]
    notes: list[str]
    error: FailureDocument | None
    attempt: int
    labels: dict[str, str]
    expires_at: str | None
    receipt: CostDocument
    cache: CacheDocument


class JobsDocument(TypedDict):
    """Some of an owner's jobs, newest first."""

    jobs: list[JobDocument]
    next_cursor: str | None


class PutDocument(TypedDict):
    """How to send an upload with one PUT."""

    url: str
    headers: dict[str, str]


class PartLinkDocument(TypedDict):
    """Where to PUT one part of a recording, and how many bytes it has."""

    number: int
    size_bytes: int
    url: str


class PartsDocument(TypedDict):
    """How far an upload in parts is: what storage has, and links for what it lacks."""

    part_bytes: int
    count: int
    stored: list[int]
    missing: list[PartLinkDocument]


class UploadDocument(TypedDict):
    """Room for one recording in storage, and the ways to fill it."""

    upload_id: str
    put: PutDocument
    parts: PartsDocument | None
    expires_in_s: int
    max_bytes: int


class StoredDocument(TypedDict):
    """An upload that is whole."""

    upload_id: str
    size_bytes: int


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
    """What was deleted of a job."""

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


class ReceiptsDocument(TypedDict):
    """Some of an owner's deleted jobs, the last submitted first."""

    receipts: list[ReceiptDocument]
    next_cursor: str | None


class RetentionDocument(TypedDict):
    """How long jobs are kept that say nothing of it themselves, in hours; null: for ever."""

    retention_hours: float | None


class CountDocument(TypedDict):
    """What is used of a limit that counts; null: there is no limit."""

    used: int
    limit: int | None


class MinutesDocument(TypedDict):
    """The minutes of audio of this month, and when the next one begins."""

    used: float
    limit: float | None
    resets_at: str


class RateDocument(TypedDict):
    """How often one may call: in the long run, and at once."""

    limit: float
    burst: int


class UsageDocument(TypedDict):
    """An owner's limits and what is used of them."""

    owner: str
    month: str
    unfinished_jobs: CountDocument
    minutes_per_month: MinutesDocument
    stored_bytes: CountDocument
    requests_per_s: RateDocument | None


class SeparateOptions(TypedDict, total=False):
    """How a recording is to be separated; `config` tells the ranges and the defaults."""

    engine: str
    format: str
    target_lufs: float
    ceiling_dbtp: float
    gain: str
    limit: bool
    residual: bool
    decompose: str
    hpss_kernel: int
    hpss_margin: float
    cache: bool


class DenoiseOptions(TypedDict, total=False):
    """How noise is to be removed; `config` tells the ranges and the defaults."""

    engine: str
    format: str
    strength: float
    target_lufs: float
    cache: bool


Options = SeparateOptions | DenoiseOptions


class JobAsked(TypedDict, total=False):
    """One job of a batch, in the terms of `submit`."""

    upload_id: Required[str]
    recipe: str
    options: Options
    labels: dict[str, str]
    retention_hours: float | None
    callback_url: str | None


def is_final(job: JobDocument) -> bool:
    """Whether a job document is the last of its job."""
    return job["status"] != "processing"
