"""A log of what must survive a kill: table items and the state of executions.

MiniStack saves its state when it ends in good order. Between two snapshots of that state, every
change to an item and every change of an execution's status is appended here before the caller
hears of it. A line holds the whole new value, so applying lines twice, or to a snapshot that
already has them, ends in the same state, and snapshot and journal need no common point in time.

A write that returned is safe from the death of the process. It is not forced to the disk, so a
power cut can cost what the operating system had not yet written (usually less than 30 s).
"""

import json
import logging
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

_PATTERN = "journal-*.jsonl"
_log = logging.getLogger(__name__)


class Change(NamedTuple):
    """One line: the new value of a thing, or None when it is gone.

    Attributes
    ----------
    kind
        ``item`` of a table, keyed by table name, partition and sort key; or ``execution``, keyed
        by its ARN.
    """

    kind: Literal["item", "execution"]
    account: str
    region: str
    key: list[str]
    value: Any


class Journal:
    """Appends changes to files in `folder`, one file between two snapshots."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._lock = threading.Lock()
        self._written = 0
        self._descriptor = self._open_next()

    @property
    def written(self) -> int:
        """Lines appended since the journal was opened; grows with every change."""
        return self._written

    def append(self, change: Change) -> None:
        """Write one line; it is the operating system's when this returns.

        Raises
        ------
        OSError
            When it cannot be written: the caller must not report success. Nothing of it stays.
        """
        line = json.dumps(change, separators=(",", ":")).encode() + b"\n"
        with self._lock:
            self._write(line)
            self._written += 1

    def rotate(self) -> list[Path]:
        """Go on in a new file; the older ones, to be deleted once a snapshot is complete.

        Raises
        ------
        OSError
            When there can be no other file; changes go on into the present one.
        """
        with self._lock:
            older = journal_files(self._folder)
            present, self._descriptor = self._descriptor, self._open_next()
            os.close(present)
        return older

    def close(self) -> None:
        """Append nothing more."""
        with self._lock:
            os.close(self._descriptor)

    def _write(self, line: bytes) -> None:
        start = os.fstat(self._descriptor).st_size
        try:
            while line:  # a disk that is nearly full takes a part, and refuses the next
                line = line[os.write(self._descriptor, line) :]
        except OSError:
            # Else the next line would be glued to the part, and be lost with it.
            os.ftruncate(self._descriptor, start)
            raise

    def _open_next(self) -> int:
        last = max((_number(path) for path in journal_files(self._folder)), default=0)
        path = self._folder / f"journal-{last + 1:08d}.jsonl"
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)


def journal_files(folder: Path) -> list[Path]:
    """The journal's files in the order in which they were written."""
    return sorted(folder.glob(_PATTERN), key=_number)


def read_changes(folder: Path) -> Iterator[Change]:
    """All changes in order, but those whose lines cannot be read.

    The last line of a file may be cut off by a kill, before anybody heard of its change. Any
    other is damage, which is told, and takes nothing along.
    """
    for path in journal_files(folder):
        with path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if not line.endswith(b"\n"):
                    _log.warning("%s ends within line %d, which is left out", path, number)
                elif (change := _change_of(line)) is None:
                    _log.error("%s is damaged in line %d, which is left out", path, number)
                else:
                    yield change


def _change_of(line: bytes) -> Change | None:
    try:
        return Change(*json.loads(line))
    except (ValueError, TypeError):  # not JSON, not a list, or not of five
        return None


def _number(path: Path) -> int:
    return int(path.stem.partition("-")[2])
