"""The separation network of a job, for the stages that run one: its weights, its restarts.

A job was promised an engine when it was submitted. Here that promise becomes files of this
task, or an error; nothing else is ever taken instead.
"""

from importlib.metadata import version
from typing import TYPE_CHECKING, Final

from clearstem.errors import MissingWeights, WrongChecksum
from clearstem.models import MODELS, known_models, missing_weights
from clearstem.recipes import EngineName
from clearstem.weights import partly_known, weights_path
from containers.audio.stream import Recording
from containers.audio.weights import Bag, Checkpoint
from containers.checksums import sha256_of
from containers.workspace import Workspace

# They import torch, which a job without a network need not wait for.
if TYPE_CHECKING:
    from containers.audio.backends import Settled, Wanted
    from containers.stages.resume import RestartPoints

# The engines that are a separation network.
_SEPARATING: Final = frozenset({EngineName.DEMUCS, EngineName.VOICE})


def checkpoint(space: Workspace) -> Checkpoint | Bag | None:
    """The weights the job was promised; None where its engine has none.

    Raises
    ------
    MissingWeights
        This task has them not.
    WrongChecksum
        A bag of that name is here and is another one.
    """
    engine, folder = space.job.engine, space.settings.models_dir
    if engine.name not in _SEPARATING or engine.sha256 is None:
        return None
    model = known_models(folder).get(engine.model)
    if model is None or folder is None:
        raise MissingWeights(missing_weights(model or MODELS["htdemucs"], models_dir=folder))
    if not model.parts:
        return Checkpoint(model.name, weights_path(model, models_dir=folder), engine.sha256)
    if model.sha256 != engine.sha256:
        raise WrongChecksum(f"{model.name} has sha256 {model.sha256}, not {engine.sha256}")
    parts = tuple(
        Checkpoint(model.name, weights_path(part, models_dir=folder), part.sha256)
        for part in model.parts
    )
    return Bag(model.name, parts, model.weights, model.sha256)


def weights_notes(space: Workspace) -> tuple[str, ...]:
    """What the job's record has to say about how well its weights are known."""
    model = known_models(space.settings.models_dir).get(space.job.engine.model)
    told = partly_known(model) if model and space.job.engine.name in _SEPARATING else None
    return (told,) if told else ()


def wanted(space: Workspace) -> "Wanted | None":
    """How the deployment wants a network run; None where the job's engine is none."""
    if space.job.engine.name not in _SEPARATING:
        return None
    from containers.audio.backends import Wanted

    settings = space.settings
    return Wanted(
        device=settings.separator_device,
        precision=settings.separator_precision,
        cache_dir=settings.cache_dir,
    )


def restart_points(space: Workspace, source: Recording, settled: "Settled") -> "RestartPoints":
    """Where the stage keeps blocks of stems while it runs the network over `source`."""
    from containers.stages.resume import RestartPoints

    versions = [f"{name} {number}" for name, number in sorted(space.versions.items())]
    weights = space.job.engine.sha256 or ""
    torch = version("torch")
    return RestartPoints(
        space, (sha256_of(source.path), weights, repr(settled), f"torch {torch}", *versions)
    )
