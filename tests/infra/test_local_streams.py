"""DynamoDB streams to functions: order, retries, halves, partial failures, and giving up."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from infra.local.stream_delivery import RETRIES_EXHAUSTED, TOO_OLD, Delivery, Policy
from tests.emulator import Account, Queue, until

Map = Callable[..., str]

TELLER = """
import boto3, json
sqs = boto3.client("sqs")
def handler(event, context):
    keys = [record["dynamodb"]["Keys"]["pk"]["S"] for record in event["Records"]]
    sqs.send_message(QueueUrl={url!r}, MessageBody=json.dumps(keys))
    {then}
"""
FAIL_ON_POISON = 'if "poison" in keys: raise ValueError("poison")'
REPORT_POISON = """return {"batchItemFailures": [
        {"itemIdentifier": record["dynamodb"]["SequenceNumber"]} for record in event["Records"]
        if record["dynamodb"]["Keys"]["pk"]["S"] == "poison"]}"""


@pytest.fixture
def table(aws: Account) -> Any:
    return aws.client("dynamodb").create_table(
        TableName="table",
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
    )["TableDescription"]


@pytest.fixture
def map_to(aws: Account, table: Any) -> Map:
    def map_to(code: str, **settings: Any) -> str:
        aws.function("consumer", code)
        mapping = aws.client("lambda").create_event_source_mapping(
            FunctionName="consumer",
            EventSourceArn=table["LatestStreamArn"],
            StartingPosition="TRIM_HORIZON",
            **settings,
        )
        return str(mapping["UUID"])

    return map_to


def put(aws: Account, *keys: str) -> None:
    client = aws.client("dynamodb")
    for key in keys:
        client.put_item(TableName="table", Item={"pk": {"S": key}})


def batches(queue: Queue, count: int) -> list[list[str]]:
    return [json.loads(body) for body in queue.receive(count)]


def test_a_write_reaches_the_function_without_waiting_for_a_poll(aws: Account, map_to: Map) -> None:
    code = """
import boto3, time
sqs = boto3.client("sqs")
def handler(event, context):
    sqs.send_message(QueueUrl={url!r}, MessageBody=str(time.time()))
"""
    queue = aws.queue("seen")
    map_to(code.format(url=queue.url))
    put(aws, "warm-up")
    queue.receive()
    client, delays_s = aws.client("dynamodb"), []
    for number in range(5):
        time.sleep(0.02)
        client.put_item(TableName="table", Item={"pk": {"S": str(number)}})
        written = time.time()
        delays_s.append(float(queue.receive()[0]) - written)
    # Polling once a second, as MiniStack does by itself, would take half of one on average.
    assert min(delays_s) < 0.25


def test_one_poison_record_does_not_stop_the_others(aws: Account, map_to: Map) -> None:
    queue, dead = aws.queue("seen"), aws.queue("dead")
    put(aws, "a", "b", "poison", "c")
    map_to(
        TELLER.format(url=queue.url, then=FAIL_ON_POISON),
        BatchSize=10,
        BisectBatchOnFunctionError=True,
        MaximumRetryAttempts=1,
        DestinationConfig={"OnFailure": {"Destination": dead.arn}},
    )
    expected = [["a", "b", "poison", "c"], ["a", "b"], ["poison", "c"], ["poison"], ["poison"]]
    assert batches(queue, 6) == [*expected, ["c"]]
    letter = json.loads(dead.receive()[0])
    assert letter["requestContext"]["condition"] == "RetryAttemptsExhausted"
    assert letter["DDBStreamBatchInfo"]["batchSize"] == 1


def test_a_partial_failure_is_delivered_again_from_the_reported_record(
    aws: Account, map_to: Map
) -> None:
    queue, dead = aws.queue("seen"), aws.queue("dead")
    put(aws, "a", "poison", "c")
    map_to(
        TELLER.format(url=queue.url, then=REPORT_POISON),
        BatchSize=10,
        BisectBatchOnFunctionError=True,
        MaximumRetryAttempts=0,
        FunctionResponseTypes=["ReportBatchItemFailures"],
        DestinationConfig={"OnFailure": {"Destination": dead.arn}},
    )
    assert batches(queue, 3) == [["a", "poison", "c"], ["poison"], ["c"]]
    assert json.loads(dead.receive()[0])["DDBStreamBatchInfo"]["batchSize"] == 1


def test_a_filter_keeps_records_from_the_function(aws: Account, map_to: Map) -> None:
    queue = aws.queue("seen")
    pattern = json.dumps({"dynamodb": {"Keys": {"pk": {"S": ["wanted"]}}}})
    map_to(
        TELLER.format(url=queue.url, then="pass"),
        FilterCriteria={"Filters": [{"Pattern": pattern}]},
    )
    put(aws, "unwanted", "wanted")
    assert batches(queue, 1) == [["wanted"]]


def test_a_slow_consumer_does_not_hold_up_another(aws: Account, table: Any, map_to: Map) -> None:
    queue = aws.queue("seen")
    aws.function("slow", "import time\ndef handler(event, context): time.sleep(5)")
    aws.client("lambda").create_event_source_mapping(
        FunctionName="slow",
        EventSourceArn=table["LatestStreamArn"],
        StartingPosition="TRIM_HORIZON",
    )
    map_to(TELLER.format(url=queue.url, then="pass"), BatchSize=1)
    put(aws, "a", "b")
    assert batches(queue, 2) == [["a"], ["b"]]


def test_a_deleted_mapping_is_not_retried_for_ever(aws: Account, map_to: Map) -> None:
    queue = aws.queue("seen")
    uuid = map_to(TELLER.format(url=queue.url, then='raise ValueError("always")'))
    put(aws, "a")
    batches(queue, 1)
    aws.client("lambda").delete_event_source_mapping(UUID=uuid)
    time.sleep(0.5)
    count = len(drain(queue))
    time.sleep(0.5)
    assert drain(queue) == [], f"after {count} retries and its deletion it went on"


def drain(queue: Queue) -> list[Any]:
    answer = queue.sqs.receive_message(QueueUrl=queue.url, MaxNumberOfMessages=10)
    return list(answer.get("Messages", []))


def test_a_raising_handler_keeps_its_process_and_its_error(aws: Account) -> None:
    aws.function(
        "raising",
        "import os\nclass Custom(Exception): pass\n"
        "def handler(event, context):\n    raise Custom(os.getpid())",
    )
    client = aws.client("lambda")
    errors = [invoke(client, "raising") for _ in range(2)]
    assert {error["errorType"] for error in errors} == {"Custom"}
    assert errors[0]["errorMessage"] == errors[1]["errorMessage"]
    assert "raise Custom" in errors[0]["stackTrace"][-1]


def invoke(client: Any, name: str) -> dict[str, Any]:
    answer = client.invoke(FunctionName=name)
    assert answer["FunctionError"] == "Unhandled"
    return dict(json.loads(answer["Payload"].read()))


class Consumer:
    """Stands for the function: answers by rule, and remembers what it was given."""

    def __init__(self, answer: Callable[[list[str]], Mapping[str, Any]]) -> None:
        self.answer = answer
        self.batches: list[list[str]] = []
        self.given_up: list[tuple[list[str], str]] = []
        self.slept_s: list[float] = []

    def deliver(self, *names: str, policy: Policy, now: float = 0.0) -> None:
        Delivery(
            policy=policy,
            invoke=self._invoke,
            give_up=lambda batch, _, why: self.given_up.append((names_of(batch), why)),
            sleep=self.slept_s.append,
            now=lambda: now,
        ).deliver([record(name) for name in names])

    def _invoke(self, event: Mapping[str, Any]) -> Mapping[str, Any]:
        self.batches.append(names_of(event["Records"]))
        return self.answer(self.batches[-1])


def record(name: str) -> dict[str, Any]:
    return {"dynamodb": {"SequenceNumber": name, "ApproximateCreationDateTime": 0}}


def names_of(records: Sequence[Mapping[str, Any]]) -> list[str]:
    return [item["dynamodb"]["SequenceNumber"] for item in records]


def failing(*poison: str) -> Consumer:
    return Consumer(lambda names: {"error": bool(set(poison) & set(names))})


def reporting(*poison: str) -> Consumer:
    return Consumer(
        lambda names: {
            "body": {
                "batchItemFailures": [{"itemIdentifier": name} for name in names if name in poison]
            }
        }
    )


def test_a_batch_that_never_works_is_given_up_after_its_retries() -> None:
    consumer = failing("b")
    consumer.deliver("a", "b", policy=Policy(max_retries=2))
    assert consumer.batches == [["a", "b"]] * 3
    assert consumer.given_up == [(["a", "b"], RETRIES_EXHAUSTED)]
    assert consumer.slept_s == [0.1, 0.2]


def test_halving_finds_the_poison_and_counts_as_no_retry() -> None:
    consumer = failing("c")
    consumer.deliver("a", "b", "c", "d", policy=Policy(max_retries=0, bisect=True))
    assert consumer.batches == [["a", "b", "c", "d"], ["a", "b"], ["c", "d"], ["c"], ["d"]]
    assert consumer.given_up == [(["c"], RETRIES_EXHAUSTED)]


def test_records_that_are_too_old_are_dropped_together() -> None:
    consumer = failing("a")
    consumer.deliver("a", "b", policy=Policy(max_age_s=60, bisect=True), now=61)
    assert consumer.batches == [["a", "b"]]
    assert consumer.given_up == [(["a", "b"], TOO_OLD)]


def test_without_limits_a_batch_is_retried_until_it_works() -> None:
    answers = iter([True] * 9 + [False])
    consumer = Consumer(lambda _: {"error": next(answers)})
    consumer.deliver("a", policy=Policy())
    assert len(consumer.batches) == 10
    assert max(consumer.slept_s) == 5.0
    assert consumer.given_up == []


def test_reports_count_only_where_the_mapping_asks_for_them() -> None:
    consumer = reporting("b")
    consumer.deliver("a", "b", policy=Policy())
    assert consumer.batches == [["a", "b"]]


def test_the_lowest_reported_record_is_the_checkpoint() -> None:
    consumer = reporting("b", "d")
    consumer.deliver("a", "b", "c", "d", policy=Policy(partial=True, max_retries=1))
    assert consumer.batches == [["a", "b", "c", "d"], ["b", "c", "d"]]
    assert consumer.given_up == [(["b", "c", "d"], RETRIES_EXHAUSTED)]


def test_an_identifier_of_no_record_fails_the_whole_batch() -> None:
    consumer = Consumer(lambda _: {"body": {"batchItemFailures": [{"itemIdentifier": "?"}]}})
    consumer.deliver("a", "b", policy=Policy(partial=True, max_retries=0))
    assert consumer.given_up == [(["a", "b"], RETRIES_EXHAUSTED)]


def test_consumed_records_do_not_pile_up(aws: Account, map_to: Map) -> None:
    queue = aws.queue("seen")
    map_to(TELLER.format(url=queue.url, then="pass"), BatchSize=1000)
    client = aws.client("dynamodb")
    for start in range(0, 1200, 25):
        items = [{"PutRequest": {"Item": {"pk": {"S": str(start + n)}}}} for n in range(25)]
        client.batch_write_item(RequestItems={"table": items})
    until(lambda: kept_records(aws) <= 1000)
    put(aws, "last")
    until(lambda: any("last" in batch for batch in batches(queue, 1)))


def kept_records(aws: Account) -> int:
    from ministack.services import dynamodb

    return len(dynamodb._stream_records._data[(aws.number, aws.region, "table")])
