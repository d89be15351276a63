"""Examples that the OpenAPI description shows: one consistent, fictive job."""

from typing import Any, Final

from functions.dialects import pipeline_documents as documents
from functions.dialects import problems

JOB_ID: Final = "3f1c2d4e-5a6b-4c7d-8e9f-0a1b2c3d4e5f"
_TRACKS: Final = (
    "vocals",
    "drums",
    "bass",
    "other",
    "harmonic",
    "percussive",
    "main",
    "main_harmonic",
    "main_percussive",
)
STAGES: Final = (
    ("audio_separation", "separator"),
    ("harmonic_percussive_separation", "decomposition"),
    ("composite_track_creation", "composition"),
    ("normalization", "audio_processing"),
)

OUTPUTS: Final = {name: f"/download/{JOB_ID}/{name}.wav" for name in _TRACKS}


def _stage(name: str, processor_type: str, *, minute: int | None = None) -> documents.StageDocument:
    ended = minute is not None
    return {
        "name": name,
        "processor_type": processor_type,
        "status": "completed" if ended else "pending",
        "started_at": f"2024-01-15T10:{minute}:46.123456" if ended else None,
        "completed_at": f"2024-01-15T10:{minute}:58.654321" if ended else None,
        "error": None,
        "duration_seconds": 12.531 if ended else None,
        "percent": 100.0 if ended else 0.0,
    }


QUEUED_JOB: Final[documents.JobDocument] = {
    "job_id": JOB_ID,
    "status": "processing",
    "created_at": "2024-01-15T10:30:45.123456",
    "stages": [_stage(name, kind) for name, kind in STAGES],
    "outputs": {},
    "percent": 0.0,
    "file_name": "song.wav",
    "engine": {
        "name": "demucs",
        "model": "htdemucs",
        "preview": False,
        "reason": "the weights of htdemucs are in the models folder",
        "sha256": "8726e21a993978c7ba086d3872e7608d7d5bfca646ca4aca459ffda844faa8b4",
    },
    "loudness": None,
    "audio": None,
    "separation": None,
    "recipe": "separate",
    "denoising": None,
    "tracks": [],
    "notes": [],
    "error": None,
    "attempt": 1,
    "labels": {},
    "expires_at": None,
    "receipt": {"seconds": 0.0, "dollars": 0.0, "stages": []},
    "cache": {"hit": False, "job_id": None},
}

# Of 12.531 s each: the network's on a GPU, the others as functions.
_COSTS: Final = (("gpu", 0.000731), *[("function", 0.000613)] * 3)

COMPLETED_JOB: Final[documents.JobDocument] = {
    **QUEUED_JOB,
    "status": "completed",
    "stages": [_stage(name, kind, minute=30 + index) for index, (name, kind) in enumerate(STAGES)],
    "outputs": OUTPUTS,
    "percent": 100.0,
    "loudness": {
        "source_lufs": -9.8,
        "main_lufs": -14.0,
        "target_lufs": -14.0,
        "ceiling_dbtp": -1.0,
        "gain_db": -4.2,
        "held_back_by": None,
        "gain": "common",
        "limited": False,
        "source_max_momentary_lufs": -6.1,
        "source_max_short_term_lufs": -7.4,
        "source_loudness_range_lu": 5.2,
    },
    "audio": {
        "container": "wav",
        "codec": "pcm_s16le",
        "rate_hz": 44100,
        "channels": 2,
        "frames": 7938000,
        "bit_depth": 16,
        "duration_s": 180.0,
    },
    "separation": {
        "engine": "demucs",
        "model": "htdemucs",
        "model_sha256": "8726e21a993978c7ba086d3872e7608d7d5bfca646ca4aca459ffda844faa8b4",
        "device": "cpu",
        "preview": False,
        "residual_db": -23.4,
        "versions": {"demucs": "4.1.0", "torch": "2.13.0"},
        "backend": "torch",
        "precision": "fp32",
    },
    "tracks": [
        {
            "name": "vocals",
            "url": OUTPUTS["vocals"],
            "format": "wav",
            "frames": 7938000,
            "size_bytes": 47628044,
            "sha256": "0f343b0931126a20f133d67c2b018a3b5e9b0e4d1c3a5f7e9d8c6b4a29180706",
            "true_peak_dbtp": -4.1,
            "loudness_lufs": -18.3,
            "max_momentary_lufs": -12.6,
            "max_short_term_lufs": -15.0,
            "loudness_range_lu": 8.1,
        }
    ],
    "receipt": {
        "seconds": 50.124,
        "dollars": 0.002571,
        "stages": [
            {"name": name, "machine": machine, "seconds": 12.531, "dollars": dollars}
            for (name, _), (machine, dollars) in zip(STAGES, _COSTS, strict=True)
        ],
    },
}

JOBS: Final[documents.JobsDocument] = {"jobs": [COMPLETED_JOB], "next_cursor": None}

UPLOAD: Final[documents.UploadDocument] = {
    "upload_id": "5b0c7e86-2f5e-4d8f-9a57-0f9a4f1f1c3e",
    "put": {
        "url": "https://uploads.example/uploads/…?X-Amz-Signature=…",
        "headers": {"Content-Type": "audio/wav"},
    },
    "post": {
        "url": "https://uploads.example/",
        "fields": {"Content-Type": "audio/wav", "key": "uploads/…", "policy": "…"},
    },
    "parts": None,
    "expires_in_s": 3600,
    "max_bytes": 524288000,
}

PARTS: Final[documents.PartsDocument] = {
    "part_bytes": 16777216,
    "count": 3,
    "stored": [1, 3],
    "missing": [
        {
            "number": 2,
            "size_bytes": 16777216,
            "url": "https://uploads.example/uploads/…?partNumber=2&X-Amz-Signature=…",
        }
    ],
}

STORED: Final[documents.StoredDocument] = {
    "upload_id": "5b0c7e86-2f5e-4d8f-9a57-0f9a4f1f1c3e",
    "size_bytes": 41943040,
}

# What any dialect's job may bear; in a form, labels are the text of an object.
ATTACHED: Final[dict[str, Any]] = {
    "callback_url": {
        "type": ["string", "null"],
        "description": "Is told of the job's events by signed webhooks.",
    },
    "labels": {
        "type": ["object", "null"],
        "additionalProperties": {"type": "string"},
        "description": "What the job is called by.",
    },
    "retention_hours": {
        "type": ["number", "null"],
        "minimum": 1,
        "maximum": 8760,
        "description": "After so long the job is deleted with all its files.",
    },
}

PROCESS_BODY: Final[dict[str, Any]] = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["file"],
                "properties": {
                    "file": {
                        "type": "string",
                        "format": "binary",
                        "contentMediaType": "application/octet-stream",
                        "description": "The recording: wav, mp3, flac or ogg.",
                    },
                    "engine": {"type": "string", "enum": ["auto", "demucs", "spectral"]},
                    "format": {
                        "type": "string",
                        "enum": ["wav", "flac", "mp3", "ogg", "m4a", "opus", "aiff"],
                    },
                    "target_lufs": {"type": "number", "minimum": -40, "maximum": -5},
                    "ceiling_dbtp": {"type": "number", "minimum": -20, "maximum": 0},
                    "gain": {"type": "string", "enum": ["common", "track"]},
                    "limit": {"type": "boolean"},
                    "residual": {"type": "boolean"},
                    "decompose": {
                        "type": "string",
                        "enum": ["accompaniment", "source", "vocals", "drums", "bass", "other"],
                    },
                    "hpss_kernel": {
                        "type": "integer",
                        "minimum": 3,
                        "maximum": 101,
                        "description": "An odd number.",
                    },
                    "hpss_margin": {"type": "number", "minimum": 1, "maximum": 10},
                    "cache": {
                        "type": "boolean",
                        "description": "Whether a stored result of the same may be the answer.",
                    },
                    **ATTACHED,
                },
            },
            "example": {"file": "song.wav", "engine": "auto", "format": "wav"},
        }
    },
}


def answer(example: object) -> dict[str, Any]:
    """A good answer's description, with its example."""
    return {"description": "OK", "content": {"application/json": {"example": example}}}


def problem(
    status: int,
    detail: str,
    *,
    description: str,
    model: type = documents.ProblemDocument,
    **facts: object,
) -> dict[str, Any]:
    """A problem's description, with its example; see `functions.description`.

    Parameters
    ----------
    model : type
        The document, where it has more than every problem has.
    **facts : object
        An example of that.
    """
    known = problems.plain_problem(status, detail)
    document = {**known, "instance": f"urn:uuid:{JOB_ID}", **facts}
    return {
        "description": description,
        "model": model,
        "content": {"application/json": {"example": document}},
    }


def told(detail: str, *, description: str) -> dict[str, Any]:
    """An error of the Audo dialect, with its example."""
    return {
        "description": description,
        "model": documents.DetailDocument,
        "content": {"application/json": {"example": {"detail": detail}}},
    }


TOO_OFTEN: Final[dict[int | str, dict[str, Any]]] = {
    429: problem(
        429, "more than 20 requests a second; …", description="Too often; see Retry-After"
    ),
}
NEEDS_KEY: Final[dict[int | str, dict[str, Any]]] = {
    401: problem(401, "Invalid or missing API key", description="No key, or a wrong one"),
    **TOO_OFTEN,
}
NO_JOB: Final[dict[int | str, dict[str, Any]]] = {
    **NEEDS_KEY,
    404: problem(404, "Job not found", description="No such job of this owner"),
}
BAD_INPUT: Final[dict[int | str, dict[str, Any]]] = {
    **NEEDS_KEY,
    400: problem(400, "No filename provided", description="Nothing to make a job of"),
    413: problem(413, "File is larger than the limit of 500 MB", description="Too large"),
    503: problem(503, "the weights of htdemucs … are missing", description="No such engine"),
}
NO_PARTS: Final[dict[int | str, dict[str, Any]]] = {
    **NEEDS_KEY,
    404: problem(404, "no upload …", description="No such upload of this owner"),
    409: problem(409, "2 of 8 parts are missing: 3, 7", description="Not in parts, or not yet"),
}

# The same of the Audo dialect.
AUDO_TOO_OFTEN: Final[dict[int | str, dict[str, Any]]] = {
    429: told("more than 20 requests a second; …", description="Too often; see Retry-After"),
}
AUDO_NEEDS_KEY: Final[dict[int | str, dict[str, Any]]] = {
    401: told("Invalid or missing API key", description="No key, or a wrong one"),
    **AUDO_TOO_OFTEN,
}
AUDO_NO_JOB: Final[dict[int | str, dict[str, Any]]] = {
    **AUDO_NEEDS_KEY,
    404: told("Job not found", description="No such job of this owner"),
}
