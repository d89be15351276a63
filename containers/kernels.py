"""The compiled kernels that an image brings along, so that no task compiles them again.

Compiling takes seconds, and the folder of numba's cache is empty in every new container: it is in
the only place that may be written to. So an image's build compiles once (`containers.bake`), for
kinds of processors instead of its own, and a task copies the result before numba is imported.
numba keeps what it compiled by the processor's name and features and is told both
here: by itself it would name the very model, which is another one on the next machine.
"""

import shutil
import tempfile
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Final

# Where an image keeps what its build compiled; not set outside of images.
FOLDER: Final = "CLEARSTEM_KERNELS_DIR"
_CACHE: Final = "NUMBA_CACHE_DIR"

_V3: Final = frozenset({"avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe", "xsave"})
_V4: Final = frozenset({"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"})
# What a kind of processor has, the better one first: the levels of the System V ABI for AMD64,
# 3.1.1, in Linux's words. Registers of AVX-512 make the medians three times as fast.
KINDS: Final[Mapping[str, frozenset[str]]] = {"x86-64-v4": _V3 | _V4, "x86-64-v3": _V3}
_CPUINFO: Final = Path("/proc/cpuinfo")


def processor_settings(kind: str) -> dict[str, str]:
    """The variables by which numba compiles for a kind of processor, and finds what it compiled."""
    return {"NUMBA_CPU_NAME": kind, "NUMBA_CPU_FEATURES": ""}


def lay_out(environment: MutableMapping[str, str], *, cpuinfo: Path = _CPUINFO) -> None:
    """Put an image's kernels where numba looks, unless they are there; elsewhere do nothing.

    A processor that none of them is for is left to numba, which compiles for it.

    Parameters
    ----------
    environment : mutable mapping of str to str
        The process's, before numba is imported; told the kind of the processor.
    cpuinfo : Path
        Linux's description of the processors.
    """
    baked, into = environment.get(FOLDER), environment.get(_CACHE)
    kind = _kind(cpuinfo) if baked and into else None
    if not baked or not into or kind is None:
        return
    environment.update(processor_settings(kind))
    if not Path(into).exists():
        # Under its name at once: a task that is killed leaves no half of it.
        with tempfile.TemporaryDirectory(dir=Path(into).parent) as folder:
            Path(shutil.copytree(baked, Path(folder) / "kernels")).rename(into)


def _kind(cpuinfo: Path) -> str | None:
    with cpuinfo.open() as lines:
        flags = next((line.split() for line in lines if line.startswith("flags")), [])
    return next((kind for kind, wanted in KINDS.items() if wanted.issubset(flags)), None)
