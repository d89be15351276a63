"""When AWS Batch starts a failed job again: ``retryStrategy`` with ``evaluateOnExit``.

Pure rules, apart from the processes they judge. Source: AWS Batch API reference, RetryStrategy and
EvaluateOnExit, and the user guide's "Automated job retries".
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

_CONDITIONS = (
    ("onExitCode", "exit_code"),
    ("onReason", "reason"),
    ("onStatusReason", "status_reason"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptEnd:
    """How one attempt of a job ended.

    Attributes
    ----------
    exit_code
        The container's exit status, 128 + N for signal N; empty when it never started.
    reason
        The container's own reason, which AWS gives only when it could not be run to an end.
    status_reason
        Why the attempt is over, in AWS Batch's words.
    final
        No retry is to be considered: it was terminated, or ran out of its time.
    """

    exit_code: int | None
    status_reason: str
    reason: str = ""
    final: bool = False


def will_retry(strategy: Mapping[str, Any], end: AttemptEnd, *, attempt: int) -> bool:
    """Whether a failed `attempt` (the first is 1) is followed by another under `strategy`.

    The first entry of ``evaluateOnExit`` whose conditions all hold decides. Where none does the
    job is retried, which is why lists end with an entry that matches everything.
    """
    if end.final or attempt >= int(strategy.get("attempts", 1)):
        return False
    entries: Iterable[Mapping[str, str]] = strategy.get("evaluateOnExit") or ()
    for entry in entries:
        if _matches(entry, end):
            return entry.get("action", "RETRY").upper() == "RETRY"
    return True


def _matches(entry: Mapping[str, str], end: AttemptEnd) -> bool:
    conditions = [(entry[key], field) for key, field in _CONDITIONS if entry.get(key)]
    return all(_glob(pattern, _text(getattr(end, field))) for pattern, field in conditions)


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _glob(pattern: str, text: str) -> bool:
    """AWS's pattern: literal, or a prefix when it ends with an asterisk; case is ignored."""
    pattern, text = pattern.lower(), text.lower()
    if pattern.endswith("*"):
        return text.startswith(pattern[:-1])
    return text == pattern
