"""Examples of what the service tells of itself that the OpenAPI description shows."""

from typing import Final

from functions.dialects import pipeline_documents as documents
from functions.routes.examples import STAGES

HEALTH: Final[documents.HealthDocument] = {
    "status": "healthy",
    "version": "1.0.0",
    "pipeline_stages": 4,
}

CONFIG: Final[documents.ConfigDocument] = {
    "max_file_size_mb": 500,
    "supported_formats": ["wav", "mp3", "flac", "ogg"],
    "pipeline_stages": [{"name": name, "processor_type": kind} for name, kind in STAGES],
    "separator": {
        "engine": "demucs",
        "model": "htdemucs",
        "preview": False,
        "reason": "the weights of htdemucs are in the models folder",
    },
    "output_formats": ["wav", "flac", "mp3", "ogg", "m4a", "opus", "aiff"],
    "options": {
        "engine": ["auto", "demucs", "spectral"],
        "format": ["wav", "flac", "mp3", "ogg", "m4a", "opus", "aiff"],
        "target_lufs": [-40.0, -5.0],
        "ceiling_dbtp": [-20.0, 0.0],
        "gain": ["common", "track"],
        "limit": [False, True],
        "residual": [False, True],
        "decompose": ["accompaniment", "source", "vocals", "drums", "bass", "other"],
        "hpss_kernel": [3, 101],
        "hpss_margin": [1.0, 10.0],
        "cache": [False, True],
    },
    "defaults": {
        "engine": "auto",
        "format": "wav",
        "target_lufs": -14.0,
        "ceiling_dbtp": -1.0,
        "gain": "common",
        "limit": False,
        "residual": False,
        "decompose": "accompaniment",
        "hpss_kernel": 31,
        "hpss_margin": 1.0,
        "cache": True,
    },
    "denoise": {
        "supported_formats": ["wav", "mp3", "flac", "ogg", "m4a", "mp4", "mov", "mkv", "webm"],
        "stages": [
            {"name": "extraction", "processor_type": "extractor"},
            {"name": "noise_reduction", "processor_type": "denoiser"},
            {"name": "encoding", "processor_type": "audio_processing"},
        ],
        "denoiser": {
            "engine": "neural",
            "model": "dtln",
            "preview": False,
            "reason": "the files of dtln are in the models folder",
        },
        "options": {
            "engine": ["auto", "spectral", "neural", "voice"],
            "format": [
                "wav",
                "flac",
                "mp3",
                "ogg",
                "m4a",
                "opus",
                "aiff",
                "mp4",
                "mov",
                "mkv",
                "webm",
            ],
            "strength": [1.0, 100.0],
            "target_lufs": [-40.0, -5.0],
            "cache": [False, True],
        },
        "defaults": {
            "engine": "auto",
            "format": None,
            "strength": 100.0,
            "target_lufs": None,
            "cache": True,
        },
    },
}
