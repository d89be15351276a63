"""What the pipeline dialect tells of the deployment: limits, formats, options, engines."""

from clearstem import media
from clearstem.denoisers import engine_for
from clearstem.errors import ClearstemError
from clearstem.options import (
    CEILING_DBTP_RANGE,
    HPSS_KERNEL_RANGE,
    HPSS_MARGIN_RANGE,
    STRENGTH_RANGE,
    TARGET_LUFS_RANGE,
    Decompose,
    DenoiseOptions,
    DenoiserChoice,
    EngineChoice,
    Gain,
    Options,
    SeparateOptions,
)
from clearstem.recipes import DENOISE, SEPARATE, Recipe
from clearstem.settings import Settings
from functions.dialects.pipeline_documents import (
    ConfigDocument,
    DenoiseConfigDocument,
    SeparatorDocument,
    StageKindDocument,
)


def config(settings: Settings) -> ConfigDocument:
    """The body of ``/config``: limits, formats, stages, and what ``auto`` takes."""
    size_mb = settings.max_upload_bytes / media.MEBIBYTE
    chosen = SeparateOptions()
    return {
        "max_file_size_mb": int(size_mb) if size_mb.is_integer() else size_mb,
        "supported_formats": list(SEPARATE.inputs),
        "pipeline_stages": _stages(SEPARATE),
        "separator": _engine(SeparateOptions(), settings=settings),
        "output_formats": list(media.SEPARATE_OUTPUTS),
        "options": {
            "engine": list(EngineChoice),
            "format": list(media.SEPARATE_OUTPUTS),
            "target_lufs": list(TARGET_LUFS_RANGE),
            "ceiling_dbtp": list(CEILING_DBTP_RANGE),
            "gain": list(Gain),
            "limit": [False, True],
            "residual": [False, True],
            "decompose": list(Decompose),
            "hpss_kernel": list(HPSS_KERNEL_RANGE),
            "hpss_margin": list(HPSS_MARGIN_RANGE),
            "cache": [False, True],
        },
        "defaults": {
            "engine": chosen.engine.value,
            "format": chosen.output_format,
            "target_lufs": chosen.target_lufs,
            "ceiling_dbtp": chosen.ceiling_dbtp,
            "gain": chosen.gain.value,
            "limit": chosen.limit,
            "residual": chosen.residual,
            "decompose": chosen.decompose.value,
            "hpss_kernel": chosen.hpss_kernel,
            "hpss_margin": chosen.hpss_margin,
            "cache": chosen.cache,
        },
        "denoise": _denoise(settings),
    }


def _denoise(settings: Settings) -> DenoiseConfigDocument:
    chosen = DenoiseOptions()
    return {
        "supported_formats": list(DENOISE.inputs),
        "stages": _stages(DENOISE),
        "denoiser": _engine(chosen, settings=settings),
        "options": {
            "engine": list(DenoiserChoice),
            "format": list(media.DENOISE_OUTPUTS),
            "strength": list(STRENGTH_RANGE),
            "target_lufs": list(TARGET_LUFS_RANGE),
            "cache": [False, True],
        },
        "defaults": {
            "engine": chosen.engine.value,
            "format": chosen.output_extension,
            "strength": chosen.strength,
            "target_lufs": chosen.auto_level_lufs,
            "cache": chosen.cache,
        },
    }


def _stages(recipe: Recipe) -> list[StageKindDocument]:
    return [{"name": s.name, "processor_type": s.processor_type} for s in recipe.stages]


def _engine(options: Options, *, settings: Settings) -> SeparatorDocument:
    """What a job with these options would be worked on with now."""
    try:
        engine = engine_for(options, settings=settings)
    except ClearstemError as exc:
        # A wrong setting is what the reader of /config has to see.
        return {"engine": None, "model": None, "preview": False, "reason": str(exc)}
    return {
        "engine": engine.name.value,
        "model": engine.model,
        "preview": engine.preview,
        "reason": engine.reason,
    }
