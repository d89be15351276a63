"""The documents of the pipeline dialect, field by field in their published order.

Plain typed dictionaries: FastAPI describes the API by them, and functions
without FastAPI build the same documents.
"""

from typing import Literal, NotRequired

from typing_extensions import TypedDict  # pydantic asks for this one below Python 3.12


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


class _Told(TypedDict):
    """What every error says of itself: problem details of RFC 9457; `detail` is for people."""

    type: str
    title: str
    status: int
    detail: str
    field: NotRequired[str]
    value: NotRequired[str | float | bool | None]
    accepted: NotRequired[AcceptedDocument]
    limit: NotRequired[str]
    used: NotRequired[float]
    resets_at: NotRequired[str | None]


class ProblemDocument(_Told):
    """Every error's body; one that no class stands for has no name."""

    instance: str
    name: NotRequired[str]


class RangeDocument(ProblemDocument):
    """A range behind the end of a track of so many bytes."""

    size_bytes: int


class ReasonDocument(_Told):
    """Why one thing of several is not done: a problem without an occurrence of its own."""

    name: str
    retry_after_s: NotRequired[int]


class DetailDocument(TypedDict):
    """An error's body in the Audo dialect, and as a frame of any WebSocket."""

    detail: str


class SubscribeDocument(TypedDict):
    """What a client sends over a WebSocket, to be told of a job."""

    action: Literal["subscribe"]
    job_id: str


class HealthDocument(TypedDict):
    """The body of ``/health``."""

    status: str
    version: str
    pipeline_stages: int


class StageKindDocument(TypedDict):
    """A stage as ``/config`` lists it."""

    name: str
    processor_type: str


class EngineDocument(TypedDict):
    """A separation engine: why it was taken, and whether it is a preview."""

    name: str
    model: str
    preview: bool
    reason: str
    sha256: str | None


class SeparatorDocument(TypedDict):
    """What ``auto`` would take for a job submitted now."""

    engine: str | None
    model: str | None
    preview: bool
    reason: str


class OptionsDocument(TypedDict):
    """What a client may choose, with the accepted values."""

    engine: list[str]
    format: list[str]
    target_lufs: list[float]
    ceiling_dbtp: list[float]
    gain: list[str]
    limit: list[bool]
    residual: list[bool]
    decompose: list[str]
    hpss_kernel: list[int]
    hpss_margin: list[float]
    cache: list[bool]


class DenoiseOptionsDocument(TypedDict):
    """What a client may choose for a noise removal, with the accepted values."""

    engine: list[str]
    format: list[str]
    strength: list[float]
    target_lufs: list[float]
    cache: list[bool]


class DenoiseConfigDocument(TypedDict):
    """What ``/config`` says of the recipe ``denoise``."""

    supported_formats: list[str]
    stages: list[StageKindDocument]
    denoiser: SeparatorDocument
    options: DenoiseOptionsDocument
    defaults: dict[str, str | bool | float | None]


class ConfigDocument(TypedDict):
    """The body of ``/config``."""

    max_file_size_mb: float
    supported_formats: list[str]
    pipeline_stages: list[StageKindDocument]
    separator: SeparatorDocument
    output_formats: list[str]
    options: OptionsDocument
    defaults: dict[str, str | bool | int | float]
    denoise: DenoiseConfigDocument


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
    """What normalization measured and did (BS.1770-4, EBU Tech 3341 and 3342).

    What there is no number for is null: loudness of silence and of less than 0.4 s, short-term
    loudness and range of less than 3 s.
    """

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
    """What made the stems.

    ``residual_db`` is the level of main minus the sum of its stems, relative to main. It is null
    where they add up exactly, and where main is silent: its ``true_peak_dbtp`` is null then, too.
    """

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
    """One output in detail.

    Levels are those of the encoded file: integrated loudness, the highest of any 0.4 s
    (momentary) and of any 3 s (short-term), the loudness range (EBU Tech 3342). What there is no
    number for, in silence or below that length, is null.
    """

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
    """A job's receipt: what its stages took so far, and what that costs on AWS.

    Dollars are an estimate by list prices of the machines that the default
    template gives each stage; nothing is paid where the service runs on one
    machine. Storage, requests and downloads are not in it.
    """

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


class PostDocument(TypedDict):
    """How to send an upload with a browser's form POST."""

    url: str
    fields: dict[str, str]


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
    post: PostDocument
    parts: PartsDocument | None
    expires_in_s: int
    max_bytes: int


class StoredDocument(TypedDict):
    """An upload that is whole."""

    upload_id: str
    size_bytes: int
