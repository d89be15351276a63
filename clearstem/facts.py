"""What is known of a job: its source, its engine, what its stages found out.

Values without behaviour; `clearstem.jobs` says how they change.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from clearstem.options import Gain
from clearstem.recipes import EngineName


@dataclass(frozen=True, slots=True)
class Location:
    """An object, or a prefix, in a bucket."""

    bucket: str
    key: str


@dataclass(frozen=True, slots=True)
class Source:
    """The recording a job works on, as it was handed in.

    Attributes
    ----------
    location : Location
        Where it lies, or will lie once it has been fetched from `url`.
    extension : str
        Lower case, no dot; empty where the address tells none, until it has been fetched.
    size_bytes : int
        0 until it has been fetched.
    url : str or None
        The address it comes from, where the client gave one instead of a file.
    duration_s : float or None
        What its header says it lasts; None where it does not say, or nobody asked.
    sha256 : str or None
        Of its bytes, in hexadecimal, as we or storage computed it, never as a client
        says; None until somebody read it whole.
    """

    location: Location
    file_name: str
    extension: str
    size_bytes: int
    url: str | None = None
    duration_s: float | None = None
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Engine:
    """The separator or denoiser a job was promised, and why that one.

    Attributes
    ----------
    name, model : str
        For example ``demucs`` and ``htdemucs``; the model of ``spectral`` is
        its own version.
    sha256 : str or None
        Of the weights, joined by ``+`` where they are several files; None where
        there are none.
    preview : bool
        Whether the engine's result is a preview, not a finished separation.
    reason : str
        Why it was taken, in words for the user.
    """

    name: EngineName
    model: str
    sha256: str | None
    preview: bool
    reason: str


@dataclass(frozen=True, slots=True)
class AudioFormat:
    """What the source turned out to be when it was decoded.

    Attributes
    ----------
    bit_depth : int or None
        None for lossy codecs, which have none.
    frames : int
        Samples per channel.
    """

    container: str
    codec: str
    rate_hz: int
    channels: int
    frames: int
    bit_depth: int | None

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.frames / self.rate_hz


@dataclass(frozen=True, slots=True)
class Separation:
    """What made the stems.

    Attributes
    ----------
    residual_db : float or None
        RMS of main minus the sum of the stems, relative to main; None where the
        difference is exactly nothing, and where main is silent: then it has no
        true peak either.
    versions : Mapping[str, str]
        The libraries that took part.
    backend : str
        What ran the network, for example ``torch`` or ``openvino``.
    precision : str
        What it was computed in: ``fp32``, ``bf16`` or ``fp16``.
    """

    engine: EngineName
    model: str
    model_sha256: str | None
    device: str
    preview: bool
    residual_db: float | None
    versions: Mapping[str, str]
    backend: str = "torch"
    precision: str = "fp32"


@dataclass(frozen=True, slots=True)
class Denoising:
    """What took the noise off.

    Attributes
    ----------
    engine, model, model_sha256
        As of `Engine`: what was promised is what ran.
    strength : float
        As asked for, 1 to 100.
    versions : Mapping[str, str]
        The libraries that took part.
    """

    engine: EngineName
    model: str
    model_sha256: str | None
    strength: float
    versions: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Loudness:
    """What normalization did, by BS.1770-4.

    Attributes
    ----------
    source_lufs, main_lufs : float or None
        Integrated loudness before, and of the encoded main track; None for
        silence and for less than one block of 0.4 s.
    source_max_momentary_lufs, source_max_short_term_lufs, source_loudness_range_lu
        As of `Track`, before.
    gain_db : float
        The gain of the main track, and with `Gain.COMMON` of every one.
    held_back_by : str or None
        The track whose true peak kept the gain below what the target asked.
    gain : Gain
        Whether all tracks had one gain.
    limited : bool
        Whether any track went through the limiter and was changed by it.
    """

    source_lufs: float | None
    main_lufs: float | None
    target_lufs: float
    ceiling_dbtp: float
    gain_db: float
    held_back_by: str | None
    gain: Gain = Gain.COMMON
    limited: bool = False
    source_max_momentary_lufs: float | None = None
    source_max_short_term_lufs: float | None = None
    source_loudness_range_lu: float | None = None


@dataclass(frozen=True, slots=True)
class Track:
    """A named audio output.

    Attributes
    ----------
    frames : int
        Samples per channel, verified on the encoded file.
    true_peak_dbtp, loudness_lufs : float or None
        Of the encoded file; None on silence, loudness also below 0.4 s.
    max_momentary_lufs, max_short_term_lufs : float or None
        The highest loudness of any 0.4 s and of any 3 s (EBU Tech 3341); None on silence, below
        that length, and in records older than these fields.
    loudness_range_lu : float or None
        EBU Tech 3342; None where no 3 s are above -70 LUFS, and in older records.
    """

    name: str
    location: Location
    extension: str
    frames: int
    size_bytes: int
    sha256: str
    true_peak_dbtp: float | None
    loudness_lufs: float | None
    max_momentary_lufs: float | None = None
    max_short_term_lufs: float | None = None
    loudness_range_lu: float | None = None


@dataclass(frozen=True, slots=True)
class StageResult:
    """What a stage found out, merged into the job when the stage completes.

    Attributes
    ----------
    source_sha256 : str or None
        Of the recording that was worked on, where this stage read it whole.
    undelivered : str or None
        Why the result is not at the address that its client named.
    made_by : str or None
        The code that made what the stage left; None in manifests older than this note.
    """

    audio: AudioFormat | None = None
    separation: Separation | None = None
    loudness: Loudness | None = None
    tracks: tuple[Track, ...] = ()
    notes: tuple[str, ...] = ()
    denoising: Denoising | None = None
    source_sha256: str | None = None
    undelivered: str | None = None
    made_by: str | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a job ended badly.

    Attributes
    ----------
    stage : str or None
        The stage that failed; None where the job never reached one.
    name : str
        The error's Step Functions name.
    message : str
        In words for the user.
    """

    stage: str | None
    name: str
    message: str
