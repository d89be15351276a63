"""Files of weights: what is known of each, whether they are here, and how they are fetched.

Each is its publisher's and known by sha256; nothing is loaded, or given its name in the models
folder, whose sum is another.
"""

import functools
import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from clearstem.errors import WrongChecksum

_CHUNK_BYTES: Final = 1 << 20

# Digits of a whole sha256, and the fewest that are compared: as many as Demucs puts into the
# names of its files and looks at itself.
_WHOLE_DIGITS: Final = 64
_LEAST_DIGITS: Final = 8
_HEX: Final = frozenset("0123456789abcdef")


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A file of weights at its publisher's.

    Attributes
    ----------
    file_name : str
        What it is called in the models folder.
    url : str
        Where its publisher keeps it.
    sha256 : str
        Of the whole file; nothing else is ever loaded. Where its publisher tells only how it
        begins, that: at least 8 hexadecimal digits.
    size_bytes : int
        Of the whole file, for whoever waits for it.

    Raises
    ------
    ValueError
        If `sha256` is neither.
    """

    file_name: str
    url: str
    sha256: str
    size_bytes: int

    def __post_init__(self) -> None:
        digits = self.sha256.lower()
        if not (_LEAST_DIGITS <= len(digits) <= _WHOLE_DIGITS and _HEX.issuperset(digits)):
            raise ValueError(
                f"{self.file_name}: sha256 {self.sha256!r} must be {_LEAST_DIGITS} to "
                f"{_WHOLE_DIGITS} hexadecimal digits"
            )

    @property
    def is_pinned(self) -> bool:
        """Whether all of its sha256 is known, not only how it begins."""
        return len(self.sha256) == _WHOLE_DIGITS


class Published(Protocol):
    """Anything whose files can be fetched from a publisher."""

    @property
    def name(self) -> str:
        """What it is called here."""
        ...

    @property
    def licence(self) -> str:
        """What its author allows."""
        ...

    @property
    def sha256(self) -> str:
        """What stands for all its files."""
        ...

    @property
    def size_bytes(self) -> int:
        """Of all its files together."""
        ...

    @property
    def files(self) -> tuple[ModelFile, ...]:
        """Its files, in order."""
        ...


class Stored(Protocol):
    """Anything that is one file in the models folder."""

    @property
    def file_name(self) -> str:
        """What it is called there."""
        ...


def weights_path(file: Stored, *, models_dir: Path) -> Path:
    """Where a file of weights, or a single checkpoint's, belongs in a models folder."""
    return models_dir / file.file_name


def is_here(model: Published, *, models_dir: Path) -> bool:
    """Whether every file of a model is in a models folder; their sums are not looked at."""
    return all(weights_path(file, models_dir=models_dir).is_file() for file in model.files)


def has_sum(found: str, *, pinned: str) -> bool:
    """Whether a file's whole sha256 is the pinned one, or begins as much of it as is known.

    Eight digits tell a file that was cut off or confused with another; they do not withstand
    someone who makes a file to match them. What loads weights never runs code of theirs, so such
    a file could sound wrong and do nothing else.
    """
    return len(pinned) >= _LEAST_DIGITS and found.startswith(pinned.lower())


def partly_known(model: Published) -> str | None:
    """What to tell of a model of whose files only the beginning of a sum is known, else None."""
    names = [file.file_name for file in model.files if not file.is_pinned]
    if not names:
        return None
    return (
        f"{model.name}: of {', '.join(names)} only the first digits of the sha256 are published; "
        "those were compared"
    )


def check_weights(path: Path, *, sha256: str) -> None:
    """Read the file once and compare its sha256, or how it begins where no more is known.

    Raises
    ------
    WrongChecksum
        The message gives both sums.
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    if not has_sum(digest.hexdigest(), pinned=sha256):
        raise WrongChecksum(f"{path.name} has sha256 {digest.hexdigest()}, not {sha256}")


def fetch(
    model: Published,
    *,
    models_dir: Path,
    stream: Callable[[str], Iterable[bytes]],
    progress: Callable[[int, int], None],
) -> tuple[Path, ...]:
    """Download a model's files, check each, and only then give it its name.

    Parameters
    ----------
    stream : callable
        ``stream(url)`` yields chunks of bytes.
    progress : callable
        Called with (bytes so far, bytes in all).

    Raises
    ------
    WrongChecksum
        What came is not the pinned file; nothing is kept of it.
    """
    models_dir.mkdir(parents=True, exist_ok=True)
    paths: list[Path] = []
    before = 0
    for file in model.files:
        path = _fetch_file(
            file,
            models_dir=models_dir,
            stream=stream,
            progress=functools.partial(_later, progress, before, model.size_bytes),
        )
        paths.append(path)
        before += file.size_bytes
    return tuple(paths)


def _later(progress: Callable[[int, int], None], before: int, total: int, done: int) -> None:
    progress(before + done, total)


def _fetch_file(
    file: ModelFile,
    *,
    models_dir: Path,
    stream: Callable[[str], Iterable[bytes]],
    progress: Callable[[int], None],
) -> Path:
    target = weights_path(file, models_dir=models_dir)
    partial = target.with_suffix(".partial")
    try:
        with partial.open("wb") as out:
            for chunk in stream(file.url):
                out.write(chunk)
                progress(out.tell())
        check_weights(partial, sha256=file.sha256)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    return target
