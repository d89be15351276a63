"""State that outlives the emulator, however it ends: snapshots, and the journal between them.

Objects of S3 need neither: MiniStack writes them through to its data folder. What is lost by a
kill is what no one waits for: metrics, log lines and queued messages since the last snapshot.
"""

import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from ministack import app
from ministack.core import persistence
from ministack.services import dynamodb

from infra.local import retention, selfcheck, state_machines
from infra.local.journal import Change, Journal, read_changes

_ATTEMPTS = 5  # other threads may change a store while it is copied
_log = logging.getLogger(__name__)

_journal: Journal | None = None
_digests: dict[str, str] = {}


def install(state_dir: Path) -> None:
    """Journal changes into `state_dir`, and apply the journal when MiniStack loads its state."""
    global _journal  # noqa: PLW0603 - MiniStack's services are module state too
    _journal = Journal(state_dir)
    selfcheck.replace(
        "ministack.app:_load_persisted_state", lambda load: _then_replay(load, state_dir)
    )
    selfcheck.replace("ministack.app:save_all", lambda _: lambda _services: snapshot(state_dir))
    selfcheck.replace("ministack.services.dynamodb:_set_item", _journaling_set)
    selfcheck.replace("ministack.services.dynamodb:_remove_item", _journaling_remove)
    selfcheck.replace(
        "ministack.services.stepfunctions:_emit_execution_status_event", _journaling_status
    )


def changes_written() -> int:
    """A number that grows whenever something was journalled."""
    return 0 if _journal is None else _journal.written


def snapshot(state_dir: Path) -> float:
    """Write every service's state that changed, and drop the journal it replaces.

    Returns
    -------
    float
        Seconds it took.
    """
    started = time.perf_counter()
    older = _journal.rotate() if _journal is not None else []
    retention.trim()
    complete = [_save(name, get, state_dir) for name, get in _services()]
    if all(complete):
        for path in older:
            path.unlink(missing_ok=True)
    return time.perf_counter() - started


def _services() -> Iterable[tuple[str, Callable[[], Any]]]:
    services: dict[str, Callable[[], Any]] = app._build_persistence_save_dict()
    return services.items()


def _save(name: str, get_state: Callable[[], Any], folder: Path) -> bool:
    """Write one service's state, in MiniStack's format; false when it could not be had."""
    text = _text_of(name, get_state)
    if text is None:
        return False
    digest = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
    path = folder / f"{name}.json"
    if text and _digests.get(name) != digest:
        part = path.with_suffix(".part")
        part.write_text(text, encoding="utf-8")
        part.replace(path)
        _digests[name] = digest
    return True


def _text_of(name: str, get_state: Callable[[], Any]) -> str | None:
    for _ in range(_ATTEMPTS):
        try:
            state = get_state()
            if state is None:  # the service could not be imported; its file stays as it is
                return ""
            wrapped = {
                "__ministack_format__": persistence._state_format_version(name),
                "payload": state,
            }
            return json.dumps(wrapped, default=persistence._json_default)
        except RuntimeError:  # "dictionary changed size during iteration"
            continue
    _log.error("the state of %s kept changing and is not in this snapshot", name)
    return None


def _then_replay(load: Callable[[], None], state_dir: Path) -> Callable[[], None]:
    def load_persisted_state() -> None:
        load()
        for change in read_changes(state_dir):
            _APPLY[change.kind](change)

    return load_persisted_state


def _apply_item(change: Change) -> None:
    table_name, partition, sort = change.key
    table = dynamodb._tables.get_scoped(change.account, change.region, table_name)
    if table is None:  # deleted after the change, or made after the last snapshot
        return
    if change.value is None:
        selfcheck.original("ministack.services.dynamodb:_remove_item")(table, partition, sort)
    else:
        selfcheck.original("ministack.services.dynamodb:_set_item")(
            table, partition, sort, change.value
        )


def _apply_execution(change: Change) -> None:
    state_machines.restore_execution(change.account, change.region, change.value)


_APPLY = {"item": _apply_item, "execution": _apply_execution}


def _append_item(table: dict[str, Any], partition: str, sort: str, item: Any) -> None:
    assert _journal is not None
    _, _, _, region, account, _ = table["TableArn"].split(":", 5)
    key = [table["TableName"], partition, sort]
    _journal.append(Change("item", account, region, key, item))


def _journaling_set(set_item: Callable[..., Any]) -> Callable[..., Any]:
    def journaled(table: dict[str, Any], partition: str, sort: str, item: Any) -> Any:
        _append_item(table, partition, sort, item)
        return set_item(table, partition, sort, item)

    return journaled


def _journaling_remove(remove_item: Callable[..., Any]) -> Callable[..., Any]:
    def journaled(table: dict[str, Any], partition: str, sort: str) -> Any:
        _append_item(table, partition, sort, None)
        return remove_item(table, partition, sort)

    return journaled


def _journaling_status(emit: Callable[[Any], None]) -> Callable[[Any], None]:
    """MiniStack calls this at the start and at every end of an execution."""

    def journaled(execution: dict[str, Any]) -> None:
        assert _journal is not None
        arn = execution["executionArn"]
        _, _, _, region, account, _ = arn.split(":", 5)
        _journal.append(Change("execution", account, region, [arn], execution))
        emit(execution)

    return journaled
