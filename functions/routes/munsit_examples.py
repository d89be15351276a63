"""What the description of the Munsit dialect's routes shows: bodies and examples."""

from typing import Any, Final

from functions.dialects.munsit import Record
from functions.routes.examples import ATTACHED

JOB_ID: Final = "5b1d2f7e-3f81-4c2a-9c5d-7a2e91b4c7a1"

ACCEPTED: Final = {"jobId": JOB_ID, "denoiseId": JOB_ID}

RECORD: Final[Record] = {
    "id": JOB_ID,
    "user_id": "alice",
    "transaction_id": None,
    "audio_url": f"https://api.example/v1/dl/…/audo_enhanced_{JOB_ID}.wav",
    "original_audio_url": f"https://api.example/api/v1/originals/…/{JOB_ID}.wav",
    "file_name": "talk.wav",
    "audio_duration": 93.25,
    "audio_size": 8952044,
    "audio_format": "wav",
    "source_type": "audio",
    "status": "success",
    "error": None,
    "created_at": "2026-03-01T12:00:00.000Z",
    "updated_at": "2026-03-01T12:00:21.480Z",
}

EVENTS: Final = (
    'data: {"stage":"processing","pct":15.0,"message":"Extracting audio"}\n\n'
    'data: {"stage":"processing","pct":62.0,"message":"Running noise reduction"}\n\n'
    f'data: {{"stage":"done","url":"{RECORD["audio_url"]}","denoiseId":"{JOB_ID}"}}\n\n'
)

BODY: Final[dict[str, Any]] = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["audio"],
                "properties": {
                    "audio": {
                        "type": "string",
                        "format": "binary",
                        "description": "Sound or video of at most 200 MB and 15 minutes.",
                    },
                    "cache": {
                        "type": "boolean",
                        "description": "Clearstem's own: false has it worked on in any case.",
                    },
                    **ATTACHED,
                },
            }
        }
    },
}


def problem(code: str, message: str) -> dict[str, Any]:
    """An error's description, with its body."""
    example = {"errorCode": code, "errorMessage": message}
    return {"description": message, "content": {"application/json": {"example": example}}}


NEEDS_KEY: Final[dict[int | str, dict[str, Any]]] = {
    401: problem("40101", "Invalid or missing API key")
}
NO_FILE: Final = problem("40002", "audio is required and must be a file")
NO_PAGE: Final = problem("40001", "limit: Input should be greater than or equal to 1")
NO_JOB: Final[dict[str, Any]] = {
    "description": "No such job of this owner",
    "content": {"application/json": {"example": {"message": "Denoising job not found"}}},
}
EVENT_STREAM: Final[dict[str, Any]] = {
    "description": "Events up to the last one",
    "content": {"text/event-stream": {"example": EVENTS}},
}
