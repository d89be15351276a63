"""What a deployment decides: the only reader of the environment."""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from clearstem.media import MEBIBYTE


@dataclass(frozen=True, slots=True)
class Settings:
    """One deployment's names and limits.

    Attributes
    ----------
    table, uploads_bucket, work_bucket, tracks_bucket, drop_bucket : str
        Resources of the template.
    separate_state_machine_arn : str
        The recipe's state machine; empty where a task has no business with it.
    denoise_state_machine_arn : str
        The same of the recipe that reduces noise.
    websocket_url : str
        Management endpoint of the WebSocket API.
    keyless_owner : str
        Who calls without a key; empty: nobody may.
    separator_model : str
        The separation model to use; empty: htdemucs where its file is found.
    denoiser_model : str
        The neural denoiser whose files are part of the stage image; empty: none.
    models_dir : Path or None
        Folder searched for weights; None where this process sees none, as in a
        function on AWS: then `separator_model` says what the stage image holds.
    separator_device : str
        Where a separation network runs: ``cuda`` or nowhere, ``cpu``, or ``auto``, which
        takes a CUDA card where there is one.
    separator_precision : str
        What a separation network is computed in: ``fp32``; ``bf16`` or, on CUDA, ``fp16``
        is faster and not checked against it on real weights. Every job reports it.
    cache_dir : Path or None
        Where conversions of networks are kept; None keeps none.
    max_upload_bytes : int
        Largest recording taken.
    voice_max_upload_bytes, voice_max_duration_s : int, float
        Limits of the Munsit dialect, whose documents state them.
    cors_origins : tuple of str
        Origins whose pages may call; ``*`` is any.
    stream_downloads : bool
        Whether tracks are sent through the API (the local edge) rather than
        by a redirect to storage (API Gateway ends bodies at 6 MB).
    progress_interval_s : float
        Least time between two progress writes of a stage.
    event_stream_s : float
        The longest that one event stream is kept open; a function on AWS must
        end it before its own time is up.
    url_allow_loopback : bool
        Whether users' addresses may be ``http`` and may lead to this machine: where AWS is
        an emulator on it, and nowhere else. On AWS a function's own runtime answers there.
    url_total_s, url_idle_s : float
        How long one transfer from or to a user's address may take in all, and
        without a byte.
    webhook_allow_loopback : bool
        Whether events may be sent to this machine: where users' addresses may lead to it.
    webhook_queue_url, webhook_dead_letters_url : str
        The queues of deliveries and of those given up.
    oidc_issuer, oidc_audience, oidc_jwks_url : str
        Whose bearer tokens are taken, for whom they must be, and where the issuer
        publishes its keys; all empty: no tokens are taken.
    oidc_leeway_s : float
        How far the issuer's clock may be from ours.
    rate_per_s : float
        Requests per second that an owner may make in the long run; 0 sets no limit.
    rate_burst : int
        Requests that he may make at once, 1 or more.
    keyless_rate_per_s, keyless_rate_burst : float, int
        The same of each network address that calls without a key.
    quota_unfinished_jobs, quota_stored_bytes : int
        Of each owner, if he has no limits of his own: see `clearstem.quotas.Quota`.
    quota_minutes_per_month : float
        The same; 0 sets no limit.
    edge_secret_arn : str
        The secret that the distribution in front proves itself by; empty: none is believed.
    stage_role_arn : str
        The role that a stage takes for its one job; empty: it works with what it has.
    """

    table: str
    uploads_bucket: str
    work_bucket: str
    tracks_bucket: str
    drop_bucket: str
    separate_state_machine_arn: str = ""
    denoise_state_machine_arn: str = ""
    websocket_url: str = ""
    keyless_owner: str = ""
    separator_model: str = ""
    denoiser_model: str = ""
    models_dir: Path | None = None
    separator_device: str = "auto"
    separator_precision: str = "fp32"
    cache_dir: Path | None = None
    max_upload_bytes: int = 500 * MEBIBYTE
    voice_max_upload_bytes: int = 200 * MEBIBYTE
    voice_max_duration_s: float = 900.0
    cors_origins: tuple[str, ...] = ("*",)
    stream_downloads: bool = False
    progress_interval_s: float = 2.0
    event_stream_s: float = math.inf
    url_allow_loopback: bool = False
    url_total_s: float = 900.0
    url_idle_s: float = 30.0
    webhook_allow_loopback: bool = False
    webhook_queue_url: str = ""
    webhook_dead_letters_url: str = ""
    oidc_issuer: str = ""
    oidc_audience: str = ""
    oidc_jwks_url: str = ""
    oidc_leeway_s: float = 60.0
    rate_per_s: float = 0.0
    rate_burst: int = 200
    keyless_rate_per_s: float = 0.0
    keyless_rate_burst: int = 20
    quota_unfinished_jobs: int = 0
    quota_minutes_per_month: float = 0.0
    quota_stored_bytes: int = 0
    edge_secret_arn: str = ""
    stage_role_arn: str = ""

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> "Settings":
        """Settings from ``CLEARSTEM_*`` variables; `KeyError` names one that is missing."""
        env = os.environ if environ is None else environ
        models_dir = env.get("CLEARSTEM_MODELS_DIR")
        cache_dir = env.get("CLEARSTEM_CACHE_DIR", _default_cache(env))
        return cls(
            table=env["CLEARSTEM_TABLE"],
            uploads_bucket=env["CLEARSTEM_UPLOADS_BUCKET"],
            work_bucket=env["CLEARSTEM_WORK_BUCKET"],
            tracks_bucket=env["CLEARSTEM_TRACKS_BUCKET"],
            drop_bucket=env["CLEARSTEM_DROP_BUCKET"],
            separate_state_machine_arn=env.get("CLEARSTEM_SEPARATE_STATE_MACHINE_ARN", ""),
            denoise_state_machine_arn=env.get("CLEARSTEM_DENOISE_STATE_MACHINE_ARN", ""),
            websocket_url=env.get("CLEARSTEM_WEBSOCKET_URL", ""),
            keyless_owner=env.get("CLEARSTEM_KEYLESS_OWNER", ""),
            separator_model=env.get("CLEARSTEM_SEPARATOR_MODEL", ""),
            denoiser_model=env.get("CLEARSTEM_DENOISER_MODEL", ""),
            models_dir=Path(models_dir) if models_dir else None,
            separator_device=env.get("CLEARSTEM_SEPARATOR_DEVICE") or "auto",
            separator_precision=env.get("CLEARSTEM_SEPARATOR_PRECISION") or "fp32",
            cache_dir=Path(cache_dir) if cache_dir else None,
            max_upload_bytes=int(env.get("CLEARSTEM_MAX_UPLOAD_BYTES") or 500 * MEBIBYTE),
            voice_max_upload_bytes=int(
                env.get("CLEARSTEM_VOICE_MAX_UPLOAD_BYTES") or 200 * MEBIBYTE
            ),
            voice_max_duration_s=float(env.get("CLEARSTEM_VOICE_MAX_DURATION_S") or 900.0),
            cors_origins=_list(env.get("CLEARSTEM_CORS_ORIGINS") or "*"),
            stream_downloads=env.get("CLEARSTEM_STREAM_DOWNLOADS", "") == "1",
            progress_interval_s=float(env.get("CLEARSTEM_PROGRESS_INTERVAL_S") or 2.0),
            event_stream_s=float(env.get("CLEARSTEM_EVENT_STREAM_S") or math.inf),
            url_allow_loopback=_is_local(env.get("AWS_ENDPOINT_URL", "")),
            url_total_s=float(env.get("CLEARSTEM_URL_TOTAL_S") or 900.0),
            url_idle_s=float(env.get("CLEARSTEM_URL_IDLE_S") or 30.0),
            webhook_allow_loopback=_is_local(env.get("AWS_ENDPOINT_URL", "")),
            webhook_queue_url=env.get("CLEARSTEM_WEBHOOK_QUEUE_URL", ""),
            webhook_dead_letters_url=env.get("CLEARSTEM_WEBHOOK_DEAD_LETTERS_URL", ""),
            oidc_issuer=env.get("CLEARSTEM_OIDC_ISSUER", ""),
            oidc_audience=env.get("CLEARSTEM_OIDC_AUDIENCE", ""),
            oidc_jwks_url=env.get("CLEARSTEM_OIDC_JWKS_URL", ""),
            oidc_leeway_s=float(env.get("CLEARSTEM_OIDC_LEEWAY_S") or 60.0),
            rate_per_s=float(env.get("CLEARSTEM_RATE_PER_S") or 0.0),
            rate_burst=int(env.get("CLEARSTEM_RATE_BURST") or 200),
            keyless_rate_per_s=float(env.get("CLEARSTEM_KEYLESS_RATE_PER_S") or 0.0),
            keyless_rate_burst=int(env.get("CLEARSTEM_KEYLESS_RATE_BURST") or 20),
            quota_unfinished_jobs=int(env.get("CLEARSTEM_QUOTA_UNFINISHED_JOBS") or 0),
            quota_minutes_per_month=float(env.get("CLEARSTEM_QUOTA_MINUTES_PER_MONTH") or 0.0),
            quota_stored_bytes=int(env.get("CLEARSTEM_QUOTA_STORED_BYTES") or 0),
            edge_secret_arn=env.get("CLEARSTEM_EDGE_SECRET_ARN", ""),
            stage_role_arn=env.get("CLEARSTEM_STAGE_ROLE_ARN", ""),
        )


def _default_cache(env: Mapping[str, str]) -> str:
    """The user's cache folder; none where there is no user, as in some containers."""
    cache = env.get("XDG_CACHE_HOME") or (f"{env['HOME']}/.cache" if env.get("HOME") else "")
    return f"{cache}/clearstem/networks" if cache else ""


def _is_local(endpoint: str) -> bool:
    """Whether AWS is an emulator on this machine, as only the local twin's is."""
    return urlsplit(endpoint).hostname in ("127.0.0.1", "::1", "localhost")


def _list(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())
