"""DynamoDB streams to Lambda with the guarantees that the template asks for.

MiniStack polls all mappings in one thread, retries for ever and knows no partial failures. Here
each mapping has a thread of its own that a write wakes at once, and failed batches are retried,
halved, cut at the reported record, given up by count or age, and then recorded at the on-failure
destination. Source: AWS Lambda developer guide, "Using AWS Lambda with Amazon DynamoDB".
"""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ministack.core.responses import set_request_account_id, set_request_region
from ministack.services import dynamodb, lambda_svc

from infra.local import selfcheck
from infra.local.stream_delivery import Delivery, Policy

_SERVICE = "ministack.services.lambda_svc"
_IDLE_S = 1.0  # how late a consumer sees that its mapping was changed or deleted
_KEPT_RECORDS = 1000  # consumed records that GetRecords may still read
_log = logging.getLogger(__name__)

Record = Mapping[str, Any]
Mapping_ = dict[str, Any]
Key = tuple[str, str, str]

_consumers: dict[Key, threading.Thread] = {}
_wakes: dict[tuple[str, str, str], threading.Event] = {}
_lock = threading.Lock()
_records_lock = threading.RLock()


def install() -> None:
    """Let the consumers here deliver what MiniStack's poller would have."""
    selfcheck.replace(
        "ministack.services.lambda_svc:_poll_dynamodb_streams", lambda _: start_consumers
    )
    selfcheck.replace("ministack.services.dynamodb:_emit_stream_event", _waking_consumers)


def start_consumers() -> bool:
    """Give every enabled mapping of a DynamoDB stream its thread; called by MiniStack's poller.

    Returns
    -------
    bool
        False: the poller has nothing more to do.
    """
    for key, mapping in list(lambda_svc._esms._data.items()):
        if ":dynamodb:" in mapping.get("EventSourceArn", "") and mapping.get("Enabled", True):
            _start_consumer(key)
    return False


def _start_consumer(key: Key) -> None:
    with _lock:
        if key in _consumers:
            return
        thread = threading.Thread(
            target=_consume, args=(key,), daemon=True, name=f"stream-{key[2][:8]}"
        )
        _consumers[key] = thread
    thread.start()


def _waking_consumers(emit: Callable[..., None]) -> Callable[..., None]:
    def emit_stream_event(table_name: str, *args: Any, **kwargs: Any) -> None:
        with _records_lock:
            emit(table_name, *args, **kwargs)
        account, region = lambda_svc.get_account_id(), lambda_svc.get_region()
        wake = _wakes.get((account, region, table_name))
        if wake is not None:
            wake.set()

    return emit_stream_event


def _consume(key: Key) -> None:
    """Deliver batch after batch until the mapping is gone or disabled."""
    account, region, uuid = key
    set_request_account_id(account)
    set_request_region(region)
    try:
        while (mapping := lambda_svc._esms._data.get(key)) and mapping.get("Enabled", True):
            table = mapping["EventSourceArn"].split(":table/")[1].split("/")[0]
            wake = _wakes.setdefault((account, region, table), threading.Event())
            wake.clear()
            if not _deliver_next(uuid, table, mapping):
                wake.wait(_IDLE_S)
    except Exception:  # noqa: BLE001 - the edge of a thread; a silent end would stop all pushes
        _log.exception("the consumer of %s stopped; the poller starts another", uuid)
    finally:
        with _lock:
            _consumers.pop(key, None)


def _deliver_next(uuid: str, table: str, mapping: Mapping_) -> bool:
    """Deliver the next batch, if there is one and a function to take it."""
    function, _ = lambda_svc._get_func_record_for_qualifier(
        mapping["FunctionName"], mapping.get("Qualifier")
    )
    if function is None:
        return False
    with _records_lock:
        position = _position(uuid, table, mapping)
        batch = dynamodb.stream_records_since(table, position, mapping.get("BatchSize", 100))
    if not batch:
        return False
    wanted = lambda_svc._apply_filter_criteria(batch, mapping)
    if wanted:
        _delivery(function, mapping).deliver(wanted)
    with lambda_svc._dynamodb_stream_positions_lock:
        lambda_svc._dynamodb_stream_positions[uuid] = position + len(batch)
    _forget_consumed(table)
    return True


def _position(uuid: str, table: str, mapping: Mapping_) -> int:
    """Where the mapping reads next.

    Positions are persisted but records are not, so one from before a restart lies past the end.
    """
    start: int = dynamodb.stream_start_position(table)
    end: int = dynamodb.stream_end_position(table)
    first = start if mapping.get("StartingPosition") == "TRIM_HORIZON" else end
    with lambda_svc._dynamodb_stream_positions_lock:
        position: int = lambda_svc._dynamodb_stream_positions.setdefault(uuid, first)
        return start if position > end else max(position, start)


def _forget_consumed(table: str) -> None:
    """Drop records that every mapping of the table is past; they hold both images of each write."""
    positions = [
        lambda_svc._dynamodb_stream_positions.get(mapping["UUID"], 0)
        for mapping in lambda_svc._esms.values()
        if f":table/{table}/" in mapping.get("EventSourceArn", "")
    ]
    with _records_lock:
        start = dynamodb.stream_start_position(table)
        surplus = min(positions, default=0) - start - _KEPT_RECORDS
        if surplus > 0:
            del dynamodb._stream_records[table][:surplus]
            dynamodb._stream_trimmed[table] = start + surplus


def _delivery(function: Any, mapping: Mapping_) -> Delivery:
    def invoke(event: Mapping[str, Any]) -> dict[str, Any]:
        result: dict[str, Any] = lambda_svc._execute_function(function, event)
        mapping["LastProcessingResult"] = "PROBLEM" if result.get("error") else "OK"
        return result

    def give_up(batch: Sequence[Record], result: Mapping[str, Any], condition: str) -> None:
        source = mapping["EventSourceArn"]
        lambda_svc._send_ddb_stream_failure_record(
            mapping, function, batch, source, result, condition
        )

    def wanted() -> bool:
        return mapping["UUID"] in lambda_svc._esms and bool(mapping.get("Enabled", True))

    return Delivery(policy=Policy.of(mapping), invoke=invoke, give_up=give_up, wanted=wanted)
