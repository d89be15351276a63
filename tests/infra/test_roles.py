"""Who may do what: the least that each task needs."""

import json

import pytest

from infra.stages import JOB_ID
from tests.infra.reading import actions, as_list, named, of_type, statements

# Actions for which AWS knows no resource, or CDK grants none narrower.
ANY_RESOURCE = {
    "batch:DescribeJobs": "has no resource type",
    "dynamodb:ListStreams": "has no resource type",
    "ecr:GetAuthorizationToken": "has no resource type",
    "xray:PutTraceSegments": "has no resource type",
    "xray:PutTelemetryRecords": "has no resource type",
    "xray:GetSamplingRules": "has no resource type",
    "xray:GetSamplingTargets": "has no resource type",
    "ec2:DescribeTags": "has no resource type",
    "ecs:DiscoverPollEndpoint": "has no resource type",
    "ecs:Poll": "bound by a condition to clusters of Batch",
    "ecs:StartTelemetrySession": "bound by a condition to clusters of Batch",
    "ecs:UpdateContainerInstancesState": "bound by a condition to clusters of Batch",
    "ecs:TagResource": "bound by a condition to what is just being registered",
    "logs:CreateLogDelivery": "log delivery of a state machine has no resource type",
    "logs:DeleteLogDelivery": "log delivery of a state machine has no resource type",
    "logs:DescribeLogGroups": "log delivery of a state machine has no resource type",
    "logs:DescribeResourcePolicies": "log delivery of a state machine has no resource type",
    "logs:GetLogDelivery": "log delivery of a state machine has no resource type",
    "logs:ListLogDeliveries": "log delivery of a state machine has no resource type",
    "logs:PutResourcePolicy": "log delivery of a state machine has no resource type",
    "logs:UpdateLogDelivery": "log delivery of a state machine has no resource type",
}


def _all_statements(template):
    inline = [
        policy
        for role in of_type(template, "AWS::IAM::Role").values()
        for policy in role.get("Policies", ())
    ]
    for policy in (*of_type(template, "AWS::IAM::Policy").values(), *inline):
        yield from policy["PolicyDocument"]["Statement"]


def test_nothing_is_allowed_on_any_resource_without_a_reason(template):
    allowed = {
        action
        for statement in _all_statements(template)
        if "*" in as_list(statement["Resource"])
        for action in as_list(statement["Action"])
    }
    assert allowed <= set(ANY_RESOURCE)


def test_no_role_may_do_everything_with_a_service(template):
    for statement in _all_statements(template):
        assert not any(action.endswith(":*") for action in as_list(statement["Action"]))


ITEM = {"PutItem", "UpdateItem", "DeleteItem"}
JOBS = {"JOB#*", "SOURCE#*", "USAGE#*", "QUEUE#*"}
OWNED = {"OWNER#*", "CACHE#*", "HOOKS#*", "DELIVERY#*"}
CALLS = {"UPLOAD#*", "RATE#*", "ONCE#*", "ENTRY#*"}
SOCKETS = {"CONN#*", "WATCH#*"}
A_JOB, SENT = f"JOB#{JOB_ID}", {"HOOKS#*", "DELIVERY#*"}
FOR_STAGES = {A_JOB, "QUEUE#*", "USAGE#*", "CACHE#*"}

# Which role does what to items, and of which partitions.
TABLE = {
    "RestHandler": {
        **dict.fromkeys({"PutItem", "DeleteItem"}, JOBS | OWNED | CALLS),
        # It does not make keys.
        **dict.fromkeys({"GetItem", "UpdateItem"}, JOBS | OWNED | CALLS | {"KEY#*"}),
        "Query": {"JOB#*", "SOURCE#*", "QUEUE#*", "HOOKS#*", "DELIVERY#*"},
        "BatchGetItem": {"JOB#*"},
        "BatchWriteItem": {"JOB#*"},
    },
    "StreamHandler": {
        "GetItem": {"JOB#*", "KEY#*", "OWNER#*"},
        "UpdateItem": {"KEY#*", "RATE#*"},
        "BatchGetItem": {"JOB#*"},
        "Query": {"JOB#*"},
    },
    "AuthorizerHandler": {
        "GetItem": {"KEY#*"},
        "UpdateItem": {"KEY#*", "ENTRY#*"},
    },
    "WebsocketHandler": {
        "GetItem": {"JOB#*", "CONN#*"},
        "PutItem": SOCKETS,
        "DeleteItem": SOCKETS,
    },
    "PushHandler": {
        "GetItem": {"JOB#*"},
        "Query": {"WATCH#*", "QUEUE#*"},
        "UpdateItem": {"WATCH#*"},
        "DeleteItem": SOCKETS,
    },
    "DropHandler": {
        **dict.fromkeys(ITEM, JOBS),
        "GetItem": JOBS | {"OWNER#*"},
        "Query": {"QUEUE#*"},
        "BatchGetItem": {"JOB#*"},
    },
    "SettleHandler": dict.fromkeys(ITEM | {"GetItem"}, JOBS),
    "SweepHandler": {
        **dict.fromkeys(ITEM | {"GetItem"}, JOBS | {"UPLOAD#*", "CACHE#*", "DELIVERY#*"}),
        "UpdateItem": JOBS | {"UPLOAD#*", "WATCH#*"},
        "Query": {"JOB#*", "SOURCE#*", "DELIVERY#*", "WATCH#*"},
        "BatchWriteItem": {"JOB#*"},
    },
    "ChangesHandler": {
        "GetItem": {"JOB#*"} | SENT,
        "PutItem": {"JOB#*", "COUNTED#*"} | SENT,
        "Query": {"HOOKS#*"},
    },
    "WebhookHandler": {"GetItem": SENT, "PutItem": SENT, "UpdateItem": {"HOOKS#*"}},
    "SeparateMachineRole": {"GetItem": {"JOB#*"}},
    "DenoiseMachineRole": {"GetItem": {"JOB#*"}},
    "StagesRole": {"GetItem": {A_JOB}},
    "StagesJobRole": {**dict.fromkeys(ITEM, FOR_STAGES), "GetItem": {A_JOB, "CACHE#*"}},
}


def _of_items(template, role):
    """What a role does to items: the partitions by the action."""
    found = {}
    for statement in statements(template, role):
        if "Table" not in map(named, as_list(statement["Resource"])):
            continue
        for action in as_list(statement["Action"]):
            name = action.removeprefix("dynamodb:")
            if action.startswith("dynamodb:") and name not in STREAM:
                keys = statement["Condition"]["ForAllValues:StringLike"]["dynamodb:LeadingKeys"]
                # Of a call that names no key, all of its keys would be allowed ones.
                assert statement["Condition"]["Null"] == {"dynamodb:LeadingKeys": "false"}
                found.setdefault(name, set()).update(as_list(keys))
    return found


@pytest.mark.parametrize("role", TABLE)
def test_a_role_does_to_the_table_what_its_task_needs_and_where(template, role):
    assert _of_items(template, role) == TABLE[role]


def test_no_role_touches_items_but_those_whose_task_it_is(template):
    names = of_type(template, "AWS::IAM::Role")
    touching = {name for name in names if _of_items(template, name)}
    assert {name for name in touching if not name.startswith(tuple(TABLE))} == set()
    assert len(touching) == len(TABLE)


@pytest.mark.parametrize("role", ["StagesJobRole", "PushHandler", "WebsocketHandler"])
def test_who_works_for_watchers_or_stages_reaches_no_key_and_no_webhook(template, role):
    reached = set().union(*_of_items(template, role).values())
    assert not {key for key in reached if key.startswith(("KEY", "HOOKS", "ENTRY", "*"))}


@pytest.mark.parametrize(
    ("role", "index"),
    [
        ("RestHandler", "by_owner"),
        ("StreamHandler", "by_owner"),
        ("WebsocketHandler", "by_connection"),
        ("PushHandler", "by_connection"),
        ("SweepHandler", "by_open"),
    ],
)
def test_a_role_queries_the_one_index_it_needs(template, role, index):
    found = actions(template, role, service="dynamodb")
    indexes = {(action, where) for action, where in found if "/index/" in where}
    assert indexes == {("Query", f"Table/index/{index}")}


def test_the_streaming_function_queries_logs_and_histories(template):
    found = actions(template, "StreamHandler", service="dynamodb")
    queried = {where for action, where in found if action == "Query"}
    assert queried == {"Table", "Table/index/by_owner"}


def test_a_function_writes_to_its_own_log_and_to_no_other(template):
    names = ("Rest", "Authorizer", "Websocket", "Push", "Drop", "Settle", "Sweep")
    for name in (*names, "Changes", "Webhook"):
        found = actions(template, f"{name}HandlerRole", service="logs")
        assert {action for action, _ in found} == {"CreateLogStream", "PutLogEvents"}
        assert all(f"{name}HandlerLog" in where for _, where in found)


STREAM = {"DescribeStream", "GetRecords", "GetShardIterator"}
# Where stored results are copied to, of jobs that they answer.
COPIES = f"Tracks/jobs/{JOB_ID}/*"


@pytest.mark.parametrize(
    ("role", "reads", "writes"),
    [
        ("RestHandler", {"Uploads/*", "Tracks/*", "Drop/done/*"}, {"Uploads/*", COPIES}),
        ("StreamHandler", {"Tracks/*", "Drop/done/*"}, set()),
        ("DropHandler", {"Drop/drop/*"}, {"Drop/done/*"}),
        ("StagesRole", set(), set()),
        ("AuthorizerHandler", set(), set()),
        ("WebsocketHandler", set(), set()),
        ("PushHandler", set(), set()),
        ("SettleHandler", set(), set()),
        ("SweepHandler", set(), set()),
    ],
)
def test_a_role_reads_and_writes_the_objects_of_its_task(template, role, reads, writes):
    found = actions(template, role, service="s3")
    assert {where for action, where in found if action == "GetObject*"} - _whole == reads
    assert {where for action, where in found if action == "PutObject"} - _whole == writes


def test_stages_reach_objects_by_whole_ids_and_list_only_who_names_one(template):
    found = actions(template, "StagesJobRole", service="s3")
    work, tracks = (f"{bucket}/jobs/{JOB_ID}/*" for bucket in ("Work", "Tracks"))
    written = {work, tracks, "Uploads/uploads/*", "Drop/done/*"}
    assert {where for action, where in found if action == "PutObject"} == written
    read = {where for action, where in found if action == "GetObject"}
    assert read == written | {"Drop/drop/*"}
    (listing,) = (
        statement
        for statement in statements(template, "StagesJobRole")
        if "s3:ListBucket" in as_list(statement["Action"])
    )
    prefixes = listing["Condition"]["StringLike"]["s3:prefix"]
    assert prefixes == [f"jobs/{JOB_ID}/*", f"done/*/{JOB_ID}/*"]
    assert {action for action, _ in found} == {
        "GetObject",
        "PutObject",
        "AbortMultipartUpload",
        "ListBucket",
    }


def test_what_a_stage_starts_with_is_good_for_taking_the_jobs_role(template):
    found = actions(template, "StagesRole", service="sts")
    assert {action for action, _ in found} == {"AssumeRole"}
    assert all("StagesJobRole" in where for _, where in found)
    (trusting,) = (
        role
        for name, role in of_type(template, "AWS::IAM::Role").items()
        if name.startswith("StagesJobRole")
    )
    (trust,) = trusting["AssumeRolePolicyDocument"]["Statement"]
    assert "StagesRole" in trust["Principal"]["AWS"]["Fn::GetAtt"][0]
    assert trust["Condition"] == {"StringLike": {"sts:RoleSessionName": JOB_ID}}


@pytest.mark.parametrize(
    ("role", "deletes"),
    [
        ("RestHandler", {"Uploads/*", "Work/*", "Tracks/*", "Drop/*"}),
        ("SweepHandler", {"Uploads/*", "Work/*", "Tracks/*", "Drop/*"}),
        ("DropHandler", set()),
        ("StagesRole", set()),
        ("StagesJobRole", set()),
        ("AuthorizerHandler", set()),
        ("WebsocketHandler", set()),
        ("PushHandler", set()),
        ("SettleHandler", set()),
    ],
)
def test_only_what_removes_jobs_deletes_objects(template, role, deletes):
    found = actions(template, role, service="s3")
    assert {where for action, where in found if action.startswith("Delete")} == deletes


def test_the_parts_of_an_upload_are_listed_and_abandoned_by_who_signs_for_them(template):
    found = actions(template, "RestHandler", service="s3")
    assert {("ListMultipartUploadParts", "Uploads/*"), ("Abort*", "Uploads/*")} <= set(found)


def test_the_publisher_touches_the_console_and_nothing_else(template):
    found = actions(template, "PublishHandlerRole", service="s3")
    assert found and all("EdgeConsole" in where for _, where in found)
    assert not actions(template, "PublishHandlerRole", service="dynamodb")


# A bucket itself, beside what lies in it: listing, or a missing key is a 403.
_whole = {"Uploads", "Work", "Tracks", "Drop"}


@pytest.mark.parametrize(
    ("role", "allowed"),
    [
        ("RestHandler", {"StartExecution", "StopExecution"}),
        ("DropHandler", {"StartExecution"}),
        (
            "SweepHandler",
            {"StartExecution", "StopExecution", "DescribeExecution", "ListExecutions"},
        ),
        ("SettleHandler", set()),
        ("StreamHandler", set()),
        ("StagesRole", set()),
    ],
)
def test_only_what_makes_jobs_starts_executions_and_only_what_ends_them_stops_any(
    template, role, allowed
):
    assert {action for action, _ in actions(template, role, service="states")} == allowed


def test_only_push_and_the_socket_itself_speak_to_connections(template):
    speaking = {
        name
        for name in of_type(template, "AWS::IAM::Role")
        if actions(template, name, service="execute-api")
    }
    assert {name.partition("Handler")[0] for name in speaking} == {"Push", "Websocket"}


def test_the_machine_submits_watches_and_ends_its_own_jobs(template):
    found = actions(template, "SeparateMachineRole", service="batch")
    assert {action for action, _ in found} == {"SubmitJob", "TerminateJob", "DescribeJobs"}
    submitted = " ".join(where for action, where in found if action == "SubmitJob")
    assert "job-definition/clearstem-stage-gpu:*" in submitted
    assert "job-definition/clearstem-stage-cpu:*" in submitted
    quiet = actions(template, "DenoiseMachineRole", service="batch")
    submitted = " ".join(where for action, where in quiet if action == "SubmitJob")
    assert "stage-cpu:*" in submitted and "stage-gpu" not in submitted
    hears = actions(template, "SeparateMachineRole", service="events")
    assert all("StepFunctionsGetEventsForBatchJobsRule" in where for _, where in hears)


def test_a_gpu_machines_role_pulls_and_logs_for_stages_and_joins_clusters_of_batch_alone(template):
    """Code in a stage shares the machine's network, and may ask it for these credentials."""
    (role,) = (
        role
        for name, role in of_type(template, "AWS::IAM::Role").items()
        if name.startswith("QueuesMachineRole")
    )
    assert "ManagedPolicyArns" not in role
    (agent,) = role["Policies"]
    for statement in agent["PolicyDocument"]["Statement"]:
        bound = json.dumps([statement["Resource"], statement.get("Condition")])
        unbound = {"ecs:DiscoverPollEndpoint", "ec2:DescribeTags"}
        if not set(as_list(statement["Action"])) <= unbound:
            assert ":cluster/AWSBatch*" in bound or '"RegisterContainerInstance"' in bound
    assert {action for action, _ in actions(template, "QueuesMachineRole", service="ecr")} == {
        "BatchCheckLayerAvailability",
        "BatchGetImage",
        "GetDownloadUrlForLayer",
        "GetAuthorizationToken",
    }
    (log,) = {where for _, where in actions(template, "QueuesMachineRole", service="logs")}
    assert "StagesLog" in log
    assert not actions(template, "QueuesMachineRole", service="sts")
