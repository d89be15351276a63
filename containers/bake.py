"""Compile what stages use for each kind of processor: ``python -m containers.bake FOLDER``.

What an image's build runs, on whatever machine it has. Kernels are compiled for the kinds of
arguments that they meet, so music first goes through all stages, in the forms and with the
options that make a difference; then what they met is compiled again, for processors that need
not be this one, and not called. `containers.kernels` tells what becomes of it.
"""

import argparse
import gc
import importlib
import inspect
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from clearstem.options import DenoiseOptions, Gain, SeparateOptions
from clearstem.recipes import DENOISE, SEPARATE
from containers import smoke
from containers.audio.song import RATE_HZ, Floats, song
from containers.kernels import KINDS, processor_settings

_SECONDS: Final = 1.0
_PACKAGE: Final = "containers."
_CACHE: Final = "NUMBA_CACHE_DIR"
# So loud that peaks have to be limited, in a format that is measured as it is decoded.
_TURNED: Final = SeparateOptions(
    output_format="mp3",
    target_lufs=-5.0,
    gain=Gain.PER_TRACK,
    limit=True,
    residual=True,
    hpss_margin=2.0,
)


@dataclass(frozen=True, slots=True)
class Kernel:
    """A compiled function, and what it was compiled for.

    Attributes
    ----------
    module, name : str
        Where it is defined; of one that a function makes, that function's name.
    made_with : tuple or None
        What that function was given; None: the kernel stands in the module itself.
    signatures : tuple
        Numba's types of its arguments, once for each way in which it was called.
    """

    module: str
    name: str
    made_with: tuple[Any, ...] | None
    signatures: tuple[Any, ...]


def used_kernels() -> list[Kernel]:
    """The kernels that stages call, found by taking music through all of them."""
    hiss = np.random.default_rng(1).standard_normal((2, round(_SECONDS * RATE_HZ)))
    stereo: Floats = (0.9 * song(_SECONDS) + 0.01 * hiss).astype(np.float32)
    for recipe, options, sound in (
        (SEPARATE, SeparateOptions(), stereo),
        (SEPARATE, _TURNED, stereo[:1]),
        (DENOISE, DenoiseOptions(), stereo[:1]),
        (DENOISE, DenoiseOptions(strength=50.0, auto_level_lufs=-16.0), stereo),
    ):
        with tempfile.TemporaryDirectory(prefix="clearstem-bake-") as folder:
            smoke.run(recipe, Path(folder), options=options, sound=sound)
    return list(_compiled())


def _compiled() -> Iterator[Kernel]:
    """What this process has compiled of ours so far."""
    from numba.core.registry import CPUDispatcher

    for found in gc.get_objects():
        ours = type(found) is CPUDispatcher and found.__module__.startswith(_PACKAGE)
        if ours and found.signatures:
            yield _kernel(found)


def _kernel(dispatcher: Any) -> Kernel:
    module, signatures = dispatcher.__module__, tuple(dispatcher.signatures)
    name, _, inner = dispatcher.__qualname__.partition(".<locals>.")
    if not inner:
        return Kernel(module, name, None, signatures)
    held = inspect.getclosurevars(dispatcher.py_func).nonlocals
    wanted = inspect.signature(getattr(sys.modules[module], name)).parameters
    return Kernel(module, name, tuple(held[each] for each in wanted), signatures)


def compile_kernels(kernels: list[Kernel]) -> int:
    """Compile kernels into the cache of this process and for its processor; how often it was."""
    for kernel in kernels:
        dispatcher = getattr(importlib.import_module(kernel.module), kernel.name)
        if kernel.made_with is not None:
            dispatcher = dispatcher(*kernel.made_with)
        for signature in kernel.signatures:
            dispatcher.compile(signature)
    return sum(len(kernel.signatures) for kernel in kernels)


def bake(kernels: list[Kernel], *, into: Path) -> Iterator[str]:
    """Compile kernels into a folder for each kind of processor; a line for each, once it is done.

    One folder will do: numba tells in its index what is for which.
    """
    for kind in KINDS:
        settings = {_CACHE: str(into), **processor_settings(kind)}
        # numba reads its variables when it is imported: a process for each.
        fresh = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, fresh, initializer=_tell, initargs=(settings,)) as process:
            count = process.submit(compile_kernels, kernels).result()
        yield f"{kind}: {count} kernels"


def _tell(settings: dict[str, str]) -> None:
    os.environ.update(settings)


def main(argv: list[str] | None = None) -> int:
    """Bake into the folder that the command line names; the process exit status."""
    parser = argparse.ArgumentParser(prog="containers.bake", description=__doc__)
    parser.add_argument("into", type=Path)
    given = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as own:
        # What is compiled for this machine stays out of the image.
        os.environ[_CACHE] = own
        sys.stdout.writelines(f"{line}\n" for line in bake(used_kernels(), into=given.into))
    return 0


if __name__ == "__main__":
    sys.exit(main())
