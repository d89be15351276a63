"""Convert networks for OpenVINO ahead of time: ``python -m containers.convert MODELS INTO``.

What an image's build runs once its weights are there. Converting htdemucs takes 16 s and 2.1 GB,
which a task would spend each time it starts. A conversion is the same for every processor.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from clearstem.models import Model, known_models
from clearstem.weights import is_here, weights_path
from containers.audio.weights import Checkpoint


def checkpoints(folder: Path) -> Iterator[Checkpoint]:
    """The separation networks whose weights are in a models folder, those of bags one by one."""
    for model in known_models(folder).values():
        if is_here(model, models_dir=folder):
            yield from _parts(model, folder)


def _parts(model: Model, folder: Path) -> Iterator[Checkpoint]:
    for file in model.files:
        yield Checkpoint(model.name, weights_path(file, models_dir=folder), file.sha256)


def convert(folder: Path, *, into: Path) -> Iterator[str]:
    """Keep the conversion of every network in a models folder; a line for each, once it is done.

    Parameters
    ----------
    folder : Path
        Where weights are.
    into : Path
        Where conversions are kept, which is to be `Settings.cache_dir` of who uses them.

    Raises
    ------
    WrongChecksum, UnsafeCheckpoint, UnusableCheckpoint
        A file of weights is not what it should be.
    """
    for checkpoint in checkpoints(folder):
        # Imports torch, which an image without weights need not wait for.
        from containers.audio.backends import keep_conversion

        obstacle = keep_conversion(checkpoint, cache_dir=into)
        said = f"left to torch: openvino {obstacle}" if obstacle else "converted"
        yield f"{checkpoint.path.name}: {said}"


def main(argv: list[str] | None = None) -> int:
    """Convert from and into the folders that the command line names; the process exit status."""
    parser = argparse.ArgumentParser(prog="containers.convert", description=__doc__)
    parser.add_argument("models", type=Path, help="the folder of weights")
    parser.add_argument("into", type=Path, help="the folder of conversions")
    given = parser.parse_args(argv)
    given.into.mkdir(parents=True, exist_ok=True)
    sys.stdout.writelines(f"{line}\n" for line in convert(given.models, into=given.into))
    return 0


if __name__ == "__main__":
    sys.exit(main())
