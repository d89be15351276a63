"""What ``/config`` tells: formats, limits, stages, engines and the ranges of options."""

from typing import TypedDict


class StageKindDocument(TypedDict):
    """A stage as ``/config`` lists it."""

    name: str
    processor_type: str


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
