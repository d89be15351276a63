"""How Lambda delivers one batch of stream records: retries, halves, partial failures, giving up.

The rules alone, without threads and without MiniStack, so that they can be tested by themselves.
Source: AWS Lambda developer guide, "Using AWS Lambda with Amazon DynamoDB": retries, bisecting
("splitting a batch does not count towards the retry quota"), ReportBatchItemFailures ("Lambda uses
the lowest sequence number as the checkpoint, and retries all batches from there").
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

FIRST_BACKOFF_S, MAX_BACKOFF_S = 0.1, 5.0  # AWS does not say how long it waits
RETRIES_EXHAUSTED, TOO_OLD = "RetryAttemptsExhausted", "MaxRecordAgeExceeded"
_WITHOUT_LIMIT = -1  # the API's own value for "for as long as the records live"

Record = Mapping[str, Any]
Result = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The event source mapping's answer to failures.

    Attributes
    ----------
    max_retries, max_age_s
        When a failing batch is given up; -1 is never.
    bisect
        Halve a failing batch, to find the record that is to blame.
    partial
        The function names the first record it could not handle.
    """

    max_retries: int = _WITHOUT_LIMIT
    max_age_s: int = _WITHOUT_LIMIT
    bisect: bool = False
    partial: bool = False

    @classmethod
    def of(cls, mapping: Mapping[str, Any]) -> "Policy":
        """The policy written in an event source mapping."""
        retries, age = mapping.get("MaximumRetryAttempts"), mapping.get("MaximumRecordAgeInSeconds")
        return cls(
            max_retries=_WITHOUT_LIMIT if retries is None else int(retries),
            max_age_s=_WITHOUT_LIMIT if age is None else int(age),
            bisect=str(mapping.get("BisectBatchOnFunctionError", False)).lower() == "true",
            partial="ReportBatchItemFailures" in (mapping.get("FunctionResponseTypes") or ()),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """Delivers batches in order, each until it is done or given up.

    Attributes
    ----------
    invoke
        Calls the function with an event; its result has ``body`` and, if it failed, ``error``.
    give_up
        Told of records that are dropped, with the last result and the reason.
    wanted
        False once the mapping is gone: nothing is retried any more.
    """

    policy: Policy
    invoke: Callable[[Mapping[str, Any]], Result]
    give_up: Callable[[Sequence[Record], Result, str], None]
    wanted: Callable[[], bool] = lambda: True
    sleep: Callable[[float], None] = time.sleep
    now: Callable[[], float] = time.time

    def deliver(self, records: Sequence[Record]) -> None:
        """Deliver `records`; returns when the shard may go on behind them."""
        pending: list[tuple[Sequence[Record], int]] = [(records, 0)]
        while pending and self.wanted():
            batch, retries = pending.pop()
            result = self.invoke({"Records": list(batch)})
            left = self._failed(batch, result)
            if not left:
                continue
            condition = self._reason_to_give_up(left, retries)
            if len(left) > 1 and self.policy.bisect and condition != TOO_OLD:
                middle = len(left) // 2
                pending += [(left[middle:], retries), (left[:middle], retries)]
            elif condition:
                self.give_up(left, result, condition)
            else:
                self.sleep(min(FIRST_BACKOFF_S * 2**retries, MAX_BACKOFF_S))
                pending.append((left, retries + 1))

    def _failed(self, batch: Sequence[Record], result: Result) -> Sequence[Record]:
        """The records to deliver again: none, all, or from the lowest reported one."""
        if result.get("error") or result.get("throttle"):
            return batch
        body = result.get("body")
        reported = body.get("batchItemFailures") if isinstance(body, dict) else None
        if not self.policy.partial or not reported:
            return ()
        numbers = {failure.get("itemIdentifier") for failure in reported}
        known = {_number(record) for record in batch}
        if not numbers <= known:  # an identifier that means nothing fails the batch
            return batch
        first = next(at for at, record in enumerate(batch) if _number(record) in numbers)
        return batch[first:]

    def _reason_to_give_up(self, batch: Sequence[Record], retries: int) -> str:
        created = float(batch[0]["dynamodb"]["ApproximateCreationDateTime"])
        if 0 < self.policy.max_age_s < self.now() - created:
            return TOO_OLD
        if 0 <= self.policy.max_retries <= retries:
            return RETRIES_EXHAUSTED
        return ""


def _number(record: Record) -> str:
    return str(record["dynamodb"]["SequenceNumber"])
