"""Job documents as the API writes them."""

import hashlib
from typing import Any

from functions.dialects.pipeline import job_document
from tests.unit.examples import JOB_ID, a_job

PATH = f"/job/{JOB_ID}"


def running(percent: float) -> dict[str, Any]:
    """A job under way."""
    return {**job_document(a_job()), "percent": percent}


def completed(**tracks: bytes) -> dict[str, Any]:
    """A completed job with tracks of these contents."""
    made = [
        {
            "name": name,
            "url": f"/download/{JOB_ID}/{name}.wav",
            "format": "wav",
            "frames": 1,
            "size_bytes": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
            "true_peak_dbtp": None,
            "loudness_lufs": None,
            "max_momentary_lufs": None,
            "max_short_term_lufs": None,
            "loudness_range_lu": None,
        }
        for name, content in tracks.items()
    ]
    return {**running(100.0), "status": "completed", "tracks": made}
