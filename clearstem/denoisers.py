"""Which denoisers there are, where their files are, and which one a job gets.

Model files are their publishers', known by sha256 and looked for in the models
folder; none is part of this project. The answer always says why.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from clearstem.errors import EngineUnavailable, WrongChecksum
from clearstem.facts import Engine
from clearstem.models import choose_engine
from clearstem.options import DenoiserChoice, EngineChoice, Options, SeparateOptions
from clearstem.recipes import EngineName
from clearstem.settings import Settings
from clearstem.weights import ModelFile, check_weights


@dataclass(frozen=True, slots=True)
class Denoiser:
    """A published noise reduction network for speech at 16 kHz."""

    name: str
    files: tuple[ModelFile, ...]
    licence: str

    @property
    def sha256(self) -> str:
        """Of all its files, in order."""
        return "+".join(file.sha256 for file in self.files)

    @property
    def size_bytes(self) -> int:
        """Of all its files together."""
        return sum(file.size_bytes for file in self.files)


DTLN: Final = Denoiser(
    name="dtln",
    files=(
        ModelFile(
            "dtln_model_1.onnx",
            "https://github.com/breizhn/DTLN/raw/HEAD/pretrained_model/model_1.onnx",
            "22b91cae3855e5a0620e66a917ca6c82c58db0e842c770f58d86751c5e8d4ae3",
            1_458_237,
        ),
        ModelFile(
            "dtln_model_2.onnx",
            "https://github.com/breizhn/DTLN/raw/HEAD/pretrained_model/model_2.onnx",
            "e20c92f9233fccf29cddf86970d0d0161a03aebccc26d6f4d5639c4d5ec2e639",
            2_510_010,
        ),
    ),
    licence="MIT",
)
GTCRN: Final = Denoiser(
    name="gtcrn",
    files=(
        ModelFile(
            "gtcrn_simple.onnx",
            "https://github.com/Xiaobin-Rong/gtcrn/raw/HEAD/stream/onnx_models/gtcrn_simple.onnx",
            "b4718df6228e7bdf1a8a435cf98f838636eb2fd331acabf86ba87c5192ebcb87",
            535_190,
        ),
    ),
    licence="MIT",
)

# Best first: DTLN measured PESQ 2.32 on 60 real mixtures, GTCRN 2.26.
DENOISERS: Final = (DTLN, GTCRN)

# The spectral gate has no weights; its version stands where a model's name does.
GATE_MODEL: Final = "gate-1"


def engine_for(options: Options, *, settings: Settings) -> Engine:
    """Settle what a new job is worked on with, whatever its recipe.

    Raises
    ------
    EngineUnavailable
        One was asked for by name and is not here.
    """
    if isinstance(options, SeparateOptions):
        return choose_engine(options.engine, settings=settings)
    return choose_denoiser(options.engine, settings=settings)


def choose_denoiser(choice: DenoiserChoice, *, settings: Settings) -> Engine:
    """Settle what reduces a new job's noise, once and for good.

    ``auto`` takes a neural denoiser where its files are, each with the right
    sha256, else the spectral gate. One asked for by name is taken or refused.

    Raises
    ------
    EngineUnavailable
        ``neural`` or ``voice`` was asked for and its files are not here; the
        message says where they were looked for.
    """
    match choice:
        case DenoiserChoice.SPECTRAL:
            return _spectral("asked for by name")
        case DenoiserChoice.VOICE:
            return _voice(settings)
    asked = choice is DenoiserChoice.NEURAL
    for denoiser in DENOISERS:
        place = _place(denoiser, settings)
        if place is not None:
            reason = "asked for by name" if asked else f"the files of {denoiser.name} are {place}"
            return _neural(denoiser, reason)
    missing = _missing(settings)
    if asked:
        raise EngineUnavailable(missing)
    return _spectral(f"spectral, because {missing}")


def find_denoiser(name: str) -> Denoiser:
    """The denoiser of that name; `EngineUnavailable` if there is none."""
    for denoiser in DENOISERS:
        if denoiser.name == name:
            return denoiser
    known = ", ".join(denoiser.name for denoiser in DENOISERS)
    raise EngineUnavailable(f"denoiser {name!r} is not one of {known}")


def _place(denoiser: Denoiser, settings: Settings) -> str | None:
    """Where a denoiser's files are, in words; None where they are not.

    A function on AWS sees no models folder: there the setting alone says what
    was baked into the stage image.
    """
    if settings.models_dir is None:
        return "part of the stage image" if settings.denoiser_model == denoiser.name else None
    whole = all(_is_whole(settings.models_dir, file) for file in denoiser.files)
    return "in the models folder" if whole else None


def _is_whole(folder: Path, file: ModelFile) -> bool:
    path = folder / file.file_name
    if not path.is_file():
        return False
    try:
        check_weights(path, sha256=file.sha256)  # at most 4 MB: some milliseconds
    except WrongChecksum:
        return False
    return True


def _missing(settings: Settings) -> str:
    names = " nor ".join(
        f"{d.name} ({', '.join(file.file_name for file in d.files)})" for d in DENOISERS
    )
    folder = settings.models_dir
    looked = f"in {folder}" if folder else "nowhere, as no models folder is set"
    return (
        f"neither {names} is there with its sha256; looked for {looked}; "
        f"get them with: clearstem models fetch {DENOISERS[0].name}"
    )


def _neural(denoiser: Denoiser, reason: str) -> Engine:
    return Engine(EngineName.NEURAL, denoiser.name, denoiser.sha256, preview=False, reason=reason)


def _spectral(reason: str) -> Engine:
    return Engine(EngineName.SPECTRAL, GATE_MODEL, None, preview=False, reason=reason)


def _voice(settings: Settings) -> Engine:
    """The vocals of the separation network: `EngineUnavailable` without its weights."""
    separator = choose_engine(EngineChoice.DEMUCS, settings=settings)
    return Engine(
        EngineName.VOICE, separator.model, separator.sha256, preview=False, reason=separator.reason
    )
