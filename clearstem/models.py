"""Which separation models there are, and which is taken.

Weights are never part of this project: they are files of their publishers
(`clearstem.weights`), looked for in one folder or baked into the stage image.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cattrs import BaseValidationError

from clearstem.errors import EngineUnavailable
from clearstem.facts import Engine
from clearstem.options import EngineChoice
from clearstem.recipes import EngineName
from clearstem.records import loads
from clearstem.weights import ModelFile, is_here

if TYPE_CHECKING:
    from clearstem.settings import Settings


@dataclass(frozen=True, slots=True)
class Model:
    """A published checkpoint, or a bag of them.

    A single checkpoint is told by the first four attributes of its file. A bag has `parts`
    and `weights` instead: several networks of one form whose answers are averaged.

    Attributes
    ----------
    licence : str
        What its author allows.
    file_name, url, sha256, size_bytes
        As in `ModelFile`. Of a bag, `sha256` is worked out: the sum over its parts' sums and
        their weights, so that it stands for all of them.
    parts : tuple of ModelFile
        The files of a bag; empty for a single checkpoint.
    weights : tuple of tuple of float
        For each part, the weight of each of its stems in the network's own order.

    Raises
    ------
    ValueError
        If it names neither a file nor parts, both, or not a row of weights for each part, or
        if a sha256 is none.
    """

    name: str
    licence: str
    file_name: str = ""
    url: str = ""
    sha256: str = ""
    size_bytes: int = 0
    parts: tuple[ModelFile, ...] = ()
    weights: tuple[tuple[float, ...], ...] = ()

    def __post_init__(self) -> None:
        if bool(self.file_name) == bool(self.parts) or len(self.weights) != len(self.parts):
            raise ValueError(
                f"model {self.name!r} has {len(self.parts)} parts, {len(self.weights)} rows of "
                f"weights and file_name {self.file_name!r}: must be one file, or parts with a "
                "row of weights each"
            )
        if not self.parts:
            ModelFile(self.file_name, self.url, self.sha256, self.size_bytes)
        else:
            told = [f"{part.sha256} {weights}" for part, weights in self._weighted()]
            object.__setattr__(self, "sha256", hashlib.sha256("\n".join(told).encode()).hexdigest())
            object.__setattr__(self, "size_bytes", sum(part.size_bytes for part in self.parts))

    def _weighted(self) -> Iterable[tuple[ModelFile, tuple[float, ...]]]:
        return zip(self.parts, self.weights, strict=True)

    @property
    def files(self) -> tuple[ModelFile, ...]:
        """All files of its weights, in order."""
        return self.parts or (ModelFile(self.file_name, self.url, self.sha256, self.size_bytes),)


HTDEMUCS: Final = Model(
    name="htdemucs",
    file_name="955717e8-8726e21a.th",
    url="https://dl.fbaipublicfiles.com/demucs/hybrid_transformer/955717e8-8726e21a.th",
    sha256="8726e21a993978c7ba086d3872e7608d7d5bfca646ca4aca459ffda844faa8b4",
    size_bytes=84_141_911,
    licence=(
        "weights trained on MUSDB18-HQ and further songs; their author offers them "
        "for scientific purposes (the code is MIT)"
    ),
)

# Of its four files the publisher tells the first 8 digits of each sum, in the name; their sizes
# are taken from the one beside them, which holds as many weights. The bag is the one of
# demucs's htdemucs_ft.yaml: each network gives the stem that it was tuned for.
HTDEMUCS_FT: Final = Model(
    name="htdemucs_ft",
    parts=tuple(
        ModelFile(
            file_name=f"{signature}-{digits}.th",
            url=f"https://dl.fbaipublicfiles.com/demucs/hybrid_transformer/{signature}-{digits}.th",
            sha256=digits,
            size_bytes=HTDEMUCS.size_bytes,
        )
        for signature, digits in (
            ("f7e0c4bc", "ba3fe64a"),
            ("d12395a8", "e57c48e6"),
            ("92cfc3b6", "ef3bcb9c"),
            ("04573f0d", "f3cf25b2"),
        )
    ),
    weights=tuple(tuple(float(stem == net) for stem in range(4)) for net in range(4)),
    licence=HTDEMUCS.licence,
)

MODELS: Final = {model.name: model for model in (HTDEMUCS, HTDEMUCS_FT)}

# The preview engine has no weights; its version stands where a model's name does.
SPECTRAL_MODEL: Final = "spectral-1"


def known_models(models_dir: Path | None) -> Mapping[str, Model]:
    """The published models, and those an operator put into the models folder.

    Own checkpoints of the Demucs family are listed in ``models.json`` there: a
    list of objects with the attributes of `Model`. They are pinned by their
    sha256 like any other; a bag is listed with its parts and weights.

    Raises
    ------
    EngineUnavailable
        ``models.json`` is no such list; the message says what is wrong.
    """
    listing = models_dir / "models.json" if models_dir else None
    if listing is None or not listing.is_file():
        return MODELS
    try:
        own = loads(listing.read_bytes(), tuple[Model, ...])
    except (ValueError, TypeError, BaseValidationError) as exc:
        raise EngineUnavailable(f"{listing} is not a list of models: {exc}") from exc
    return {**MODELS, **{model.name: model for model in own}}


def choose_engine(choice: EngineChoice, *, settings: "Settings") -> Engine:
    """Settle what a new job is separated with, once and for good.

    ``auto`` takes Demucs where its weights are to be had, else the preview
    engine, and the answer says why. An engine asked for by name is taken or
    refused, never exchanged.

    Raises
    ------
    EngineUnavailable
        ``demucs`` was asked for and its weights are not here; the message says
        where they were looked for and which command gets them.
    """
    if choice is EngineChoice.SPECTRAL:
        return _spectral("asked for by name")
    model = _configured_model(settings)
    place = _weights_place(model, settings)
    if place is not None:
        asked = choice is EngineChoice.DEMUCS
        return Engine(
            name=EngineName.DEMUCS,
            model=model.name,
            sha256=model.sha256,
            preview=False,
            reason="asked for by name" if asked else f"the weights of {model.name} are {place}",
        )
    missing = missing_weights(model, models_dir=settings.models_dir)
    if choice is EngineChoice.DEMUCS:
        raise EngineUnavailable(missing)
    return _spectral(f"preview, because {missing}")


def missing_weights(model: Model, *, models_dir: Path | None) -> str:
    """What to tell a user who lacks a model's weights."""
    looked = f"in {models_dir}" if models_dir else "nowhere, as no models folder is set"
    files = ", ".join(file.file_name for file in model.files)
    return (
        f"the weights of {model.name} ({files}, {model.size_bytes / 1e6:.0f} MB) are "
        f"missing; looked for {looked}; get them with: clearstem models fetch {model.name}"
    )


def _configured_model(settings: "Settings") -> Model:
    name = settings.separator_model or HTDEMUCS.name
    models = known_models(settings.models_dir)
    if name not in models:
        raise EngineUnavailable(f"model {name!r} is not one of {', '.join(sorted(models))}")
    return models[name]


def _weights_place(model: Model, settings: "Settings") -> str | None:
    """Where the weights are, in words; None where they are not.

    A function on AWS sees no models folder: there the setting alone says what
    was baked into the stage image.
    """
    if settings.models_dir is not None:
        there = is_here(model, models_dir=settings.models_dir)
        return "in the models folder" if there else None
    return "part of the stage image" if settings.separator_model else None


def _spectral(reason: str) -> Engine:
    return Engine(
        name=EngineName.SPECTRAL,
        model=SPECTRAL_MODEL,
        sha256=None,
        preview=True,
        reason=reason,
    )
