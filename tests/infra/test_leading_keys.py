"""Which partitions a call to DynamoDB names, as policies are asked."""

import json

import pytest

from infra.local.leading_keys import _with_leading_keys, condition_keys

ONE, OTHER = {"pk": {"S": "JOB#1"}, "sk": {"S": "JOB"}}, {"pk": {"S": "KEY#2"}, "sk": {"S": "KEY"}}
ASKED = {":job": {"S": "JOB#1"}, ":pk": {"S": "KEY#2"}}


@pytest.mark.parametrize(
    ("call", "named"),
    [
        ({"Key": ONE}, ["JOB#1"]),
        ({"Item": {**OTHER, "owner": {"S": "JOB#1"}}}, ["KEY#2"]),
        ({"TransactItems": [{"Put": {"Item": ONE}}, {"Delete": {"Key": OTHER}}]}, None),
        ({"RequestItems": {"table": {"Keys": [ONE, OTHER]}}}, None),
        (
            {
                "RequestItems": {
                    "table": [{"PutRequest": {"Item": ONE}}, {"DeleteRequest": {"Key": OTHER}}]
                }
            },
            None,
        ),
        ({"KeyConditionExpression": "pk = :job AND begins_with(sk, :pk)"}, ["JOB#1"]),
        ({"KeyConditionExpression": "begins_with(sk, :job) AND pk=:pk"}, ["KEY#2"]),
    ],
)
def test_a_call_names_every_partition_it_touches(call, named):
    keys = condition_keys({**call, "ExpressionAttributeValues": ASKED})
    assert keys == {"dynamodb:LeadingKeys": named or ["JOB#1", "KEY#2"]}


@pytest.mark.parametrize(
    "call",
    [
        {"TableName": "table"},
        {"KeyConditionExpression": "owner = :job"},
        # The index has a key of its own.
        {"KeyConditionExpression": "pk = :job", "IndexName": "by_connection"},
        {"KeyConditionExpression": "pk = :none"},
    ],
)
def test_a_call_that_names_none_has_no_such_key(call):
    assert condition_keys({**call, "ExpressionAttributeValues": ASKED}) == {}


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (json.dumps({"Key": ONE}).encode(), {"dynamodb:LeadingKeys": ["JOB#1"]}),
        (b"[]", {}),
        (b"no json", {}),
        (b"", {}),
    ],
)
def test_a_body_adds_the_key_to_what_is_known_of_it(body, named):
    known = {"dynamodb:Select": ["ALL_ATTRIBUTES"]}
    assert _with_leading_keys(lambda _: known)(body) == {**known, **named}
