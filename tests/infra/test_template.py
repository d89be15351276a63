"""What the template promises of storage, functions and triggers."""

import json
import re

import pytest

from infra import checks, synth
from tests.infra.reading import functions, mappings, of_type, only

HANDLERS = (
    "rest",
    "authorizer",
    "websocket",
    "push",
    "drop",
    "settle",
    "sweep",
    "changes",
    "webhook",
    "publish",
)
# What every deployment leaves at its default.
# The last is for a distribution that proves itself, which the template's does not yet.
DEFAULTS = {
    "CLEARSTEM_OIDC_LEEWAY_S",
    "CLEARSTEM_PROGRESS_INTERVAL_S",
    "CLEARSTEM_EDGE_SECRET",
}


def test_no_bucket_is_public_unencrypted_or_reachable_without_tls(template):
    buckets = of_type(template, "AWS::S3::Bucket")
    assert len(buckets) == 6
    for bucket in buckets.values():
        assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
        rule = only(
            dict(enumerate(bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]))
        )
        assert rule["ServerSideEncryptionByDefault"] == {"SSEAlgorithm": "AES256"}
    tls_only = {
        policy["Bucket"]["Ref"]
        for policy in of_type(template, "AWS::S3::BucketPolicy").values()
        if _refuses_plain_http(policy)
    }
    assert tls_only == set(buckets)


def _refuses_plain_http(policy):
    return any(
        statement["Effect"] == "Deny"
        and statement["Action"] in ("s3:*", "sqs:*")
        and statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
        for statement in policy["PolicyDocument"]["Statement"]
    )


@pytest.mark.parametrize(
    ("bucket", "days"), [("Uploads", {None: 7}), ("Work", {None: 2}), ("Tracks", {None: 30})]
)
def test_objects_live_as_long_as_they_are_of_use(template, bucket, days):
    rules = _lifecycle(template, bucket)
    assert {rule.get("Prefix"): rule["ExpirationInDays"] for rule in rules} == days


def test_dropped_files_and_their_results_end_apart(template):
    rules = _lifecycle(template, "Drop")
    ends = {rule["Prefix"]: rule["ExpirationInDays"] for rule in rules}
    assert ends == {"drop/": 7, "done/": 30}


@pytest.mark.parametrize("bucket", ["Uploads", "Work", "Tracks", "Drop"])
def test_parts_of_an_unfinished_upload_are_dropped_after_a_day(template, bucket):
    for rule in _lifecycle(template, bucket):
        assert rule["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 1}


def _lifecycle(template, bucket):
    buckets = of_type(template, "AWS::S3::Bucket")
    found = {name: value for name, value in buckets.items() if name.startswith(f"Storage{bucket}")}
    return only(found)["LifecycleConfiguration"]["Rules"]


def test_what_was_deleted_or_replaced_can_be_had_back_for_a_week(template):
    versioned = {
        name.removeprefix("Storage")[:-8]: bucket["LifecycleConfiguration"]["Rules"]
        for name, bucket in of_type(template, "AWS::S3::Bucket").items()
        if bucket.get("VersioningConfiguration") == {"Status": "Enabled"}
    }
    assert set(versioned) == {"Uploads", "Tracks"}
    for (rule,) in versioned.values():
        assert rule["NoncurrentVersionExpiration"] == {"NoncurrentDays": 7}


def test_every_bucket_logs_who_asked_and_the_log_itself_ends(template):
    buckets = of_type(template, "AWS::S3::Bucket")
    log = next(name for name in buckets if name.startswith("StorageAccessLog"))
    for name, bucket in buckets.items():
        if name != log:
            assert bucket["LoggingConfiguration"]["DestinationBucketName"] == {"Ref": log}
    assert _lifecycle(template, "AccessLog")[0]["ExpirationInDays"] == 90


def test_browsers_may_send_to_uploads_and_read_from_tracks_only(template):
    allowed = {
        name.removeprefix("Storage")[:-8]: bucket["CorsConfiguration"]["CorsRules"][0]
        for name, bucket in of_type(template, "AWS::S3::Bucket").items()
        if "CorsConfiguration" in bucket
    }
    assert {name: rule["AllowedMethods"] for name, rule in allowed.items()} == {
        "Uploads": ["PUT", "POST"],
        "Tracks": ["GET", "HEAD"],
    }


def test_the_table_is_what_the_core_expects(template):
    table = only(of_type(template, "AWS::DynamoDB::Table"))
    assert table["KeySchema"] == _keys("pk", "sk")
    assert table["StreamSpecification"] == {"StreamViewType": "NEW_AND_OLD_IMAGES"}
    assert table["TimeToLiveSpecification"] == {"AttributeName": "ttl", "Enabled": True}
    assert table["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"] is True
    assert {
        index["IndexName"]: index["KeySchema"] for index in table["GlobalSecondaryIndexes"]
    } == {
        "by_owner": _keys("owner", "owner_sort"),
        "by_open": _keys("open", "updated_at"),
        "by_connection": _keys("connection_id", "pk"),
    }
    assert {index["Projection"]["ProjectionType"] for index in table["GlobalSecondaryIndexes"]} == {
        "KEYS_ONLY"
    }


def test_the_table_is_not_deleted_by_mistake(template):
    assert only(of_type(template, "AWS::DynamoDB::Table"))["DeletionProtectionEnabled"] is True


def _keys(partition, sort):
    return [
        {"AttributeName": partition, "KeyType": "HASH"},
        {"AttributeName": sort, "KeyType": "RANGE"},
    ]


def test_deleting_the_stack_deletes_nobodys_recordings(template):
    kept = {
        resource["Type"]
        for resource in template["Resources"].values()
        if resource["Type"] in ("AWS::S3::Bucket", "AWS::DynamoDB::Table")
        and resource["DeletionPolicy"] == resource["UpdateReplacePolicy"] == "Retain"
    }
    assert kept == {"AWS::S3::Bucket", "AWS::DynamoDB::Table"}
    assert not of_type(template, "Custom::S3AutoDeleteObjects")


def test_queues_are_encrypted_kept_for_long_and_sent_by_tls_only(template):
    queues = of_type(template, "AWS::SQS::Queue")
    assert len(queues) == 7
    for queue in queues.values():
        assert queue["SqsManagedSseEnabled"] is True
        assert queue["MessageRetentionPeriod"] == 14 * 24 * 3600
    tls_only = {
        policy["Queues"][0]["Ref"]
        for policy in of_type(template, "AWS::SQS::QueuePolicy").values()
        if _refuses_plain_http(policy)
    }
    assert tls_only == set(queues)


def test_there_is_one_function_per_trigger_all_of_one_zip(template):
    found = functions(template)
    assert sorted(found) == sorted(HANDLERS)
    assert {json.dumps(function["Code"], sort_keys=True) for function in found.values()} == {
        json.dumps(found["rest"]["Code"], sort_keys=True)
    }


@pytest.mark.parametrize("handler", HANDLERS)
def test_every_function_runs_alike_traced_and_with_logs_that_end(template, handler):
    function = functions(template)[handler]
    assert function["Runtime"] == "python3.13"
    assert function["Architectures"] == ["arm64"]
    assert function["TracingConfig"] == {"Mode": "Active"}
    group = template["Resources"][function["LoggingConfig"]["LogGroup"]["Ref"]]
    assert group["Properties"]["RetentionInDays"] == 30


@pytest.mark.parametrize("handler", HANDLERS)
def test_every_function_is_told_all_that_settings_reads(template, handler):
    told = set(functions(template)[handler]["Environment"]["Variables"])
    read = set(
        re.findall(r'"(CLEARSTEM_\w+)"', (synth.ROOT / "clearstem" / "settings.py").read_text())
    )
    # How a network is run is the stage image's matter, and the role for a job the stages'.
    of_stages = {
        "CLEARSTEM_CACHE_DIR",
        "CLEARSTEM_SEPARATOR_PRECISION",
        "CLEARSTEM_STAGE_ROLE_ARN",
    }
    assert "CLEARSTEM_STAGE_ROLE_ARN" not in told
    assert read - of_stages - DEFAULTS <= told
    assert {"POWERTOOLS_SERVICE_NAME", "POWERTOOLS_METRICS_NAMESPACE", "LOG_LEVEL"} <= told


def test_the_push_address_is_the_parameters_or_else_the_apis_own(template):
    url = functions(template)["push"]["Environment"]["Variables"]["CLEARSTEM_WEBSOCKET_URL"]
    condition, own, given = url["Fn::If"]
    assert template["Conditions"][condition] == {
        "Fn::Equals": [{"Ref": "WebSocketManagementUrl"}, ""]
    }
    assert given == {"Ref": "WebSocketManagementUrl"}
    assert json.dumps(own).endswith('"/live"]]}')


def test_parameters_are_all_optional_and_outputs_complete(template):
    assert {name: spec["Default"] for name, spec in template["Parameters"].items()} == {
        "KeylessOwner": "",
        "OidcIssuer": "",
        "OidcAudience": "",
        "OidcJwksUrl": "",
        "SeparatorModel": "",
        "DenoiserModel": "",
        "ModelsDir": "",
        "StageFunctions": "",
        "WebSocketManagementUrl": "",
        # Off: users' URLs are https, and lead to public hosts.
        "UrlAllowLoopback": "",
        "RatePerS": "20",
        "RateBurst": "200",
    }
    assert set(template["Outputs"]) == {
        "Url",
        "RestApiId",
        "RestUrl",
        "RestFunction",
        "WebSocketApiId",
        "WebSocketUrl",
        "Table",
        "UploadsBucket",
        "WorkBucket",
        "TracksBucket",
        "DropBucket",
        "SeparateStateMachineArn",
        "DenoiseStateMachineArn",
    }


def _paths(template):
    """Every resource's whole path by its logical id."""
    resources = of_type(template, "AWS::ApiGateway::Resource")

    def path(name):
        parent = resources[name]["ParentId"].get("Ref")
        return (path(parent) if parent else "") + "/" + resources[name]["PathPart"]

    return {name: path(name) for name in resources}


def _methods(template):
    paths = _paths(template)
    return {
        (method["HttpMethod"], paths[method["ResourceId"]["Ref"]]): method
        for method in of_type(template, "AWS::ApiGateway::Method").values()
    }


def test_only_what_tells_of_nobody_is_open_without_the_authorizer(template):
    methods = _methods(template)
    open_to_all = {at for at, method in methods.items() if method["AuthorizationType"] == "NONE"}
    assert {path for verb, path in open_to_all if verb != "OPTIONS"} == {
        "/health",
        "/config",
        "/docs",
        "/openapi.json",
        "/asyncapi.json",
    }
    assert {m["AuthorizationType"] for m in methods.values()} == {"NONE", "CUSTOM"}
    assert methods["ANY", "/{proxy+}"]["AuthorizationType"] == "CUSTOM"


STREAMED = {"/download/{job_id}/all", "/api/v1/denoise/{job_id}/progress"}


def test_event_streams_and_archives_are_streamed_and_nothing_else(template):
    streamed = {
        path: method
        for (_, path), method in _methods(template).items()
        if method["Integration"].get("ResponseTransferMode") == "STREAM"
    }
    assert set(streamed) == STREAMED
    for method in streamed.values():
        integration = method["Integration"]
        assert integration["TimeoutInMillis"] == 900_000
        assert "response-streaming-invocations" in json.dumps(integration["Uri"])
        assert "StreamHandler" in json.dumps(integration["Uri"])
        assert method["AuthorizationType"] == "CUSTOM"


@pytest.mark.parametrize("path", sorted(STREAMED))
def test_what_lies_beside_a_streamed_path_still_reaches_the_service(template, path):
    methods = _methods(template)
    segments = path.strip("/").split("/")
    for length in range(1, len(segments)):
        above = "/" + "/".join(segments[:length])
        assert ("ANY", above) in methods and ("OPTIONS", above) in methods
        if not segments[length].startswith("{"):
            assert ("ANY", f"{above}/{{proxy+}}") in methods


def test_the_streaming_function_lives_as_long_as_its_streams(template):
    functions_of_images = {
        name: function
        for name, function in of_type(template, "AWS::Lambda::Function").items()
        if "ImageUri" in function["Code"]
    }
    stream = only({k: v for k, v in functions_of_images.items() if k.startswith("StreamHandler")})
    assert (stream["Timeout"], stream["Architectures"]) == (900, ["arm64"])
    assert stream["Code"]["ImageUri"]["Fn::Join"][1][-1].endswith(":stream")


def test_a_request_without_a_key_reaches_the_authorizer(template):
    rest = only(of_type(template, "AWS::ApiGateway::Authorizer"))
    assert rest["AuthorizerResultTtlInSeconds"] == 0
    assert not rest.get("IdentitySource")
    assert only(of_type(template, "AWS::ApiGatewayV2::Authorizer"))["IdentitySource"] == []


def test_bodies_pass_the_gateway_as_bytes(template):
    assert only(of_type(template, "AWS::ApiGateway::RestApi"))["BinaryMediaTypes"] == ["*/*"]


@pytest.mark.parametrize("kind", ["AWS::ApiGateway::Stage", "AWS::ApiGatewayV2::Stage"])
def test_calls_are_logged_without_what_would_open_anything(template, kind):
    stage = only(of_type(template, kind))
    form = (stage.get("AccessLogSetting") or stage["AccessLogSettings"])["Format"]
    said = set(json.loads(form).values())
    assert {"$context.requestId", "$context.status", "$context.authorizer.principalId"} <= said
    # Result addresses and a browser's API key are in paths and query strings.
    assert not any("path" in f.lower().replace("resourcepath", "") for f in said)
    assert not any("querystring" in f.lower() or "uri" in f.lower() for f in said)


def test_no_flood_of_one_api_eats_the_accounts_requests(template):
    rest = only(of_type(template, "AWS::ApiGateway::Stage"))["MethodSettings"][0]
    assert (rest["ThrottlingRateLimit"], rest["DataTraceEnabled"]) == (500, False)
    live = only(of_type(template, "AWS::ApiGatewayV2::Stage"))["DefaultRouteSettings"]
    assert live["ThrottlingRateLimit"] == 200


def test_a_websocket_is_authorized_when_it_connects(template):
    routes = {
        route["RouteKey"]: route["AuthorizationType"]
        for route in of_type(template, "AWS::ApiGatewayV2::Route").values()
    }
    assert routes == {"$connect": "CUSTOM", "$disconnect": "NONE", "$default": "NONE"}


def test_only_objects_under_drop_start_a_job(template):
    notification = only(of_type(template, "Custom::S3BucketNotifications"))
    asked = only(
        dict(enumerate(notification["NotificationConfiguration"]["LambdaFunctionConfigurations"]))
    )
    assert asked["Events"] == ["s3:ObjectCreated:*"]
    assert asked["Filter"]["Key"]["FilterRules"] == [{"Name": "prefix", "Value": "drop/"}]


def test_what_drop_and_settle_cannot_handle_is_kept(template):
    for handler in ("drop", "settle"):
        target = functions(template)[handler]["DeadLetterConfig"]["TargetArn"]["Fn::GetAtt"][0]
        assert template["Resources"][target]["Type"] == "AWS::SQS::Queue"


def test_the_stream_is_read_whole_and_a_poison_record_laid_aside(template):
    mapping = only(mappings(template, of="push"))
    assert mapping["StartingPosition"] == "TRIM_HORIZON"
    assert mapping["BatchSize"] == 25
    assert mapping["MaximumBatchingWindowInSeconds"] == 0
    assert mapping["BisectBatchOnFunctionError"] is True
    assert mapping["MaximumRetryAttempts"] == 5
    assert mapping["MaximumRecordAgeInSeconds"] == 3600
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert "FilterCriteria" not in mapping
    laid = mapping["DestinationConfig"]["OnFailure"]["Destination"]["Fn::GetAtt"][0]
    assert template["Resources"][laid]["Type"] == "AWS::SQS::Queue"


def test_every_bad_ending_of_these_machines_is_settled(template):
    rules = of_type(template, "AWS::Events::Rule").values()
    rule = next(rule for rule in rules if "EventPattern" in rule)
    pattern = rule["EventPattern"]
    assert pattern["source"] == ["aws.states"]
    assert pattern["detail-type"] == ["Step Functions Execution Status Change"]
    assert set(pattern["detail"]["status"]) == {"FAILED", "TIMED_OUT", "ABORTED"}
    machines = {arn["Ref"] for arn in pattern["detail"]["stateMachineArn"]}
    assert machines == set(of_type(template, "AWS::StepFunctions::StateMachine"))
    assert "DeadLetterConfig" in only(dict(enumerate(rule["Targets"])))


def test_the_sweep_comes_every_five_minutes_and_ends_before_the_next(template):
    rules = of_type(template, "AWS::Events::Rule").values()
    assert [rule.get("ScheduleExpression") for rule in rules].count("rate(5 minutes)") == 1
    assert functions(template)["sweep"]["Timeout"] < 300


def test_cfn_lint_finds_nothing(template):
    assert checks.template_problems(template) == []


def test_statelint_finds_nothing(template):
    assert checks.state_machine_problems(template) == []


def test_statelint_would_find_something(template):
    machine = next(iter(checks.state_machines(template)))
    broken = json.loads(json.dumps(template))
    broken["Resources"][machine]["Properties"]["DefinitionString"] = '{"States": {}}'
    assert checks.state_machine_problems(broken)


def test_the_report_names_what_was_found_and_fails(capsys):
    assert checks.report([("one", []), ("two", ["broken here"])]) == 1
    assert capsys.readouterr().out == "one: ok\ntwo: 1 found\n  broken here\n"


def test_the_report_of_nothing_found_passes(capsys):
    assert checks.report([("one", [])]) == 0
