"""What the template promises of webhooks: who is called with what, and who may queue."""

import json

import pytest

from clearstem.webhooks import RECEIVER_S
from tests.infra.reading import actions, functions, mappings, of_type, only

ORDERS, GIVEN_UP, LOST = "WebhooksOrders", "WebhooksGivenUp", "WebhooksDeadLetters"


def test_changes_of_jobs_alone_are_heard_and_what_cannot_be_handled_is_kept(template):
    mapping = only(mappings(template, of="changes"))
    (pattern,) = mapping["FilterCriteria"]["Filters"]
    assert json.loads(pattern["Pattern"]) == {"dynamodb": {"NewImage": {"sk": {"S": ["JOB"]}}}}
    assert mapping["StartingPosition"] == "TRIM_HORIZON"
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    # However long the table could not be written: the stream's own day.
    assert "MaximumRecordAgeInSeconds" not in mapping
    laid = mapping["DestinationConfig"]["OnFailure"]["Destination"]["Fn::GetAtt"][0]
    assert laid.startswith("ChangesDeadLetters")


def test_the_stream_has_no_more_than_the_two_readers_it_takes(template):
    readers = [
        mapping["FunctionName"]["Ref"]
        for mapping in of_type(template, "AWS::Lambda::EventSourceMapping").values()
        if mapping["EventSourceArn"]["Fn::GetAtt"][1] == "StreamArn"
    ]
    assert len(readers) == 2
    assert {name.partition("Handler")[0] for name in readers} == {"Push", "Changes"}


def test_an_attempt_is_a_call_of_its_own_and_leaves_calls_to_others(template):
    mapping = only(mappings(template, of="webhook"))
    assert mapping["BatchSize"] == 1
    assert mapping["ScalingConfig"] == {"MaximumConcurrency": 50}


def test_an_attempt_is_over_long_before_its_function_is(template):
    """What a function was stopped at is not written down, and is made for ever."""
    assert functions(template)["webhook"]["Timeout"] >= RECEIVER_S + 10


def test_a_message_is_invisible_for_six_times_as_long_as_an_attempt_may_take(template):
    queue = only({k: v for k, v in of_type(template, "AWS::SQS::Queue").items() if ORDERS in k})
    assert queue["VisibilityTimeout"] >= 6 * functions(template)["webhook"]["Timeout"]
    lost = queue["RedrivePolicy"]["deadLetterTargetArn"]["Fn::GetAtt"][0]
    assert lost.startswith(LOST)
    assert queue["RedrivePolicy"]["maxReceiveCount"] == 5


@pytest.mark.parametrize(
    ("role", "queues"),
    [
        ("ChangesHandler", {ORDERS, "ChangesDeadLetters"}),
        ("WebhookHandler", {ORDERS, GIVEN_UP}),
        ("RestHandler", {ORDERS}),
        ("SweepHandler", {ORDERS, "SweepDeadLetters"}),
        ("AuthorizerHandler", set()),
        ("WebsocketHandler", set()),
        ("StagesRole", set()),
    ],
)
def test_only_what_sets_deliveries_on_their_way_may_queue_them(template, role, queues):
    sends = {
        where for action, where in actions(template, role, service="sqs") if action == "SendMessage"
    }
    assert {json.loads(where)["Fn::GetAtt"][0].rstrip("0123456789ABCDEF") for where in sends} == {
        name.rstrip("0123456789ABCDEF") for name in queues
    }


def test_the_attempts_are_taken_from_the_queue_by_the_courier_alone(template):
    takers = {
        role
        for role in ("RestHandler", "ChangesHandler", "WebhookHandler", "SweepHandler")
        if any(action == "ReceiveMessage" for action, _ in actions(template, role, service="sqs"))
    }
    assert takers == {"WebhookHandler"}
