"""What the template promises of functions, parameters and triggers; and what the linters say."""

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
DEFAULTS = {
    "CLEARSTEM_OIDC_LEEWAY_S",
    "CLEARSTEM_PROGRESS_INTERVAL_S",
}


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
        "CLEARSTEM_SEPARATOR_DEVICE",
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
        "SeparatorDevice": "cuda",
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


def test_only_a_synth_that_does_something_else_besides_is_too_slow():
    """Ten seconds is the goal; beside other work the same takes a multiple of it."""
    assert checks.slow_synth(10.0) == checks.slow_synth(90.0) == []
    (said,) = checks.slow_synth(110.4)
    assert said.startswith("110 s, not 100 at the most")
