"""Every alarm reaches somebody who can read what to do; every metric it looks at is written."""

import ast
import json
import re
from dataclasses import replace
from itertools import pairwise
from math import prod

import pytest
from aws_lambda_powertools.metrics import MetricUnit

from clearstem.facts import Failure
from clearstem.jobs import JobState
from clearstem.recipes import RECIPES
from functions import telemetry
from functions.meter import measurements
from infra import cost, synth
from infra.observability import NAMESPACE, RUNBOOK
from tests.infra.reading import functions, of_type, only
from tests.unit.examples import JOB_ID, STAGES, a_job, after, at


def alarms(template):
    return of_type(template, "AWS::CloudWatch::Alarm")


def test_every_alarm_has_an_entry_in_the_runbook(template):
    headings = re.findall(r"^### (\w+)$", (synth.ROOT / RUNBOOK).read_text(), re.MULTILINE)
    named = set()
    for alarm in alarms(template).values():
        says, _, anchor = alarm["AlarmDescription"].partition(f" {RUNBOOK}#")
        assert says.endswith(".")
        named.add(anchor)
    assert named == {heading.lower() for heading in headings}


def test_every_alarm_tells_the_topic_when_it_begins_and_ends(template):
    topic = next(iter(of_type(template, "AWS::SNS::Topic")))
    for alarm in alarms(template).values():
        assert alarm["AlarmActions"] == alarm["OKActions"] == [{"Ref": topic}]


def _let_in(policies, *, service):
    """What policies of resources let a service do, and on which condition."""
    return [
        (statement["Action"], statement["Resource"], statement["Condition"])
        for policy in policies.values()
        for statement in policy["PolicyDocument"]["Statement"]
        if statement["Effect"] == "Allow"
        and statement["Principal"] == {"Service": f"{service}.amazonaws.com"}
    ]


def test_an_alarm_may_publish_to_the_topic_that_it_tells(template):
    """SNS lets alarms in by its own policy, which a policy of the template's replaces."""
    policy = only(of_type(template, "AWS::SNS::TopicPolicy"))
    (topic,) = policy["Topics"]
    told = {"StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}}
    allowed = _let_in({"": policy}, service="cloudwatch")
    assert allowed == [("sns:Publish", topic, told)]


def test_an_event_that_nobody_took_may_be_put_into_the_queue_that_its_rule_names(template):
    let_in = _let_in(of_type(template, "AWS::SQS::QueuePolicy"), service="events")
    for name, rule in of_type(template, "AWS::Events::Rule").items():
        this = {"ArnEquals": {"aws:SourceArn": {"Fn::GetAtt": [name, "Arn"]}}}
        for target in rule["Targets"]:
            assert ("sqs:SendMessage", target["DeadLetterConfig"]["Arn"], this) in let_in


def test_nobody_but_alarms_tells_the_topic(template):
    """Whoever else publishes to it, its policy has to let in."""
    (topic,) = of_type(template, "AWS::SNS::Topic")
    for name, resource in template["Resources"].items():
        if resource["Type"] not in ("AWS::CloudWatch::Alarm", "AWS::SNS::TopicPolicy"):
            assert f'"{topic}"' not in json.dumps(resource), name


def test_what_has_no_data_is_no_alarm_but_for_the_clock(template):
    breaching = {
        name
        for name, alarm in alarms(template).items()
        if alarm["TreatMissingData"] != "notBreaching"
    }
    assert {name.removeprefix("Observability")[:12] for name in breaching} == {"SweepStopped"}


def test_the_sweep_is_missed_when_none_comes_to_its_end(template):
    """Lambda counts calls that failed as well: they are no sign of life."""
    (alarm,) = [a for name, a in alarms(template).items() if "SweepStopped" in name]
    assert (alarm["Namespace"], alarm["MetricName"]) == (NAMESPACE, "SweepsCompleted")
    assert (alarm["Period"], alarm["Threshold"], alarm["Statistic"]) == (1800, 1, "Sum")
    assert alarm["ComparisonOperator"] == "LessThanThreshold"


def test_a_sweep_that_fails_is_kept_and_its_next_turn_is_its_next_attempt(template):
    kept = functions(template)["sweep"]["DeadLetterConfig"]["TargetArn"]["Fn::GetAtt"][0]
    (rule,) = [
        rule
        for rule in of_type(template, "AWS::Events::Rule").values()
        if "ScheduleExpression" in rule
    ]
    assert kept == rule["Targets"][0]["DeadLetterConfig"]["Arn"]["Fn::GetAtt"][0]
    assert kept.startswith("SweepDeadLetters")
    config = only(of_type(template, "AWS::Lambda::EventInvokeConfig"))
    assert config["FunctionName"]["Ref"].startswith("SweepHandler")
    assert config["MaximumRetryAttempts"] == 0


def test_every_dead_letter_queue_has_an_alarm(template):
    watched = {
        dimension["Value"]["Fn::GetAtt"][0]
        for alarm in alarms(template).values()
        for dimension in alarm.get("Dimensions", ())
        if dimension["Name"] == "QueueName"
    }
    # What waits for its attempt, and what a receiver refused to the end, are nobody's fault here.
    unwatched = set(of_type(template, "AWS::SQS::Queue")) - watched
    assert {name.rstrip("0123456789ABCDEF") for name in unwatched} == {
        "WebhooksOrders",
        "WebhooksGivenUp",
    }


def _emitted():
    """Every metric that the functions' code writes: name, function, dimensions besides it."""
    for path in sorted((synth.ROOT / "functions").glob("*.py")):
        if path.stem in ("meter", "telemetry"):
            continue
        for call in ast.walk(ast.parse(path.read_text())):
            name = getattr(getattr(call, "func", None), "id", "")
            if name in ("count", "note_seconds"):
                yield from ((metric, path.stem, ()) for metric in _texts(call.args[0]))
            if name == "Measurement":
                dimensions = ast.literal_eval(call.args[3])
                yield from (
                    (metric, path.stem, tuple(dimensions)) for metric in _texts(call.args[0])
                )
    for job in _measured():
        for found in measurements(job):
            yield found.metric, "changes", tuple(found.dimensions)


def _texts(node):
    return [part.value for part in ast.walk(node) if isinstance(getattr(part, "value", None), str)]


def _measured():
    """Jobs that are queued, leave the queue, fail, succeed, and one that was answered."""
    yield a_job()
    running = a_job().start_stage(STAGES[0], at=at(1))
    yield running
    yield running.fail(Failure(STAGES[0], "Clearstem.NoAudio", "no sound"), at=at(5))
    job = a_job()
    for stage in STAGES:
        job = after(job.start_stage(stage, at=at(1)), stage, when=at(2))
    yield job
    yield replace(job, cached_from=JOB_ID)


def _asked(template):
    """Every metric of ours that an alarm or the dashboard looks at, in the same form."""
    for alarm in alarms(template).values():
        for stat in _stats(alarm):
            if stat["Namespace"] == NAMESPACE:
                dimensions = {each["Name"]: each["Value"] for each in stat["Dimensions"]}
                yield _series(stat["MetricName"], dimensions)
    body = only(of_type(template, "AWS::CloudWatch::Dashboard"))["DashboardBody"]
    for found in re.findall(rf'\[\\"{NAMESPACE}\\",((?:\\"[\w.-]+\\",)+)', json.dumps(body)):
        name, *pairs = re.findall(r'\\"([\w.-]+)\\"', found)
        yield _series(name, dict(zip(pairs[::2], pairs[1::2], strict=True)))


def _stats(alarm):
    """Every series that an alarm looks at."""
    if "MetricName" in alarm:
        return [alarm]
    return [each["MetricStat"]["Metric"] for each in alarm["Metrics"] if "MetricStat" in each]


def _series(metric, dimensions):
    service = dimensions.pop("service")
    return metric, service.removeprefix("clearstem-"), tuple(dimensions)


def test_alarms_and_dashboard_look_at_series_that_somebody_writes(template):
    asked = set(_asked(template))
    assert {"JobsEnded", "JobsCached", "LongestSilence", "PushSeconds"} <= {
        metric for metric, _, _ in asked
    }
    assert asked <= set(_emitted())


def _running(template):
    """The functions that run while the service does, by their logical names."""
    at_deployments = ("PublishHandler", "BucketNotifications", "Custom")
    return {
        name
        for name in of_type(template, "AWS::Lambda::Function")
        if not name.startswith(at_deployments)
    }


@pytest.mark.parametrize("metric", ["Errors", "Throttles"])
def test_the_dashboard_shows_every_function_that_runs_with_the_service(template, metric):
    body = only(of_type(template, "AWS::CloudWatch::Dashboard"))["DashboardBody"]["Fn::Join"][1]
    shown = {
        name["Ref"]
        for before, name in pairwise(body)
        if isinstance(name, dict)
        and re.search(rf'\["AWS/Lambda","{metric}","FunctionName","$', str(before))
    }
    assert shown == _running(template)
    assert {"StreamHandler", "StagesFunction"} <= {name[:-8] for name in shown}


def test_a_call_that_found_no_slot_is_an_alarm_where_slots_are_not_numbered(template):
    """Stages and streams beyond their slots are refused by intent."""
    (alarm,) = [a for name, a in alarms(template).items() if "FunctionThrottles" in name]
    asked = {
        (stat["MetricName"], *((d["Name"], d["Value"]["Ref"]) for d in stat["Dimensions"]))
        for stat in _stats(alarm)
    }
    numbered = ("StreamHandler", "StagesFunction")
    named = {name for name in _running(template) if not name.startswith(numbered)}
    assert asked == {("Throttles", ("FunctionName", name)) for name in named}
    _assert_a_sum(alarm, of=len(named))


def test_sockets_are_watched_where_they_fail_and_where_they_are_let_in(template):
    (alarm,) = [a for name, a in alarms(template).items() if "SocketErrors" in name]
    asked = {
        (stat["MetricName"], *(d["Name"] for d in stat["Dimensions"])) for stat in _stats(alarm)
    }
    assert asked == {
        ("ExecutionError", "ApiId", "Stage"),
        ("Errors", "FunctionName"),
        ("Invocations", "FunctionName"),
    }
    assert len(alarm["Metrics"]) <= 10  # more is more than CloudWatch takes


def _looked_at(template):
    """Every series of an alarm or the dashboard: who counts, what, and its dimensions."""
    for alarm in alarms(template).values():
        for stat in _stats(alarm):
            dimensions = {d["Name"]: _plain(d["Value"]) for d in stat.get("Dimensions", ())}
            yield stat["Namespace"], stat["MetricName"], dimensions
    body = only(of_type(template, "AWS::CloudWatch::Dashboard"))["DashboardBody"]["Fn::Join"][1]
    for widget in json.loads("".join(map(_plain, body)))["widgets"]:
        for namespace, metric, *rest in widget["properties"]["metrics"]:
            told = [each for each in rest if isinstance(each, str)]
            yield namespace, metric, dict(zip(told[::2], told[1::2], strict=True))


def _plain(value):
    if isinstance(value, str):
        return value
    return value["Ref"] if "Ref" in value else value["Fn::GetAtt"][0]


def _of_table(template):
    return [
        (metric, dimensions)
        for namespace, metric, dimensions in _looked_at(template)
        if namespace == "AWS/DynamoDB"
    ]


def test_the_table_is_watched_by_series_that_dynamodb_counts(template):
    """Refused requests it counts by operation only: an alarm by table would never go off."""
    for metric, dimensions in _of_table(template):
        assert metric in ("ReadThrottleEvents", "WriteThrottleEvents")
        assert {"TableName"} <= set(dimensions) <= {"TableName", "GlobalSecondaryIndexName"}


def test_a_refusal_of_the_table_or_of_any_index_is_an_alarm(template):
    ((table, properties),) = of_type(template, "AWS::DynamoDB::Table").items()
    indexes = [each["IndexName"] for each in properties["GlobalSecondaryIndexes"]]
    places = [{}, *({"GlobalSecondaryIndexName": index} for index in indexes)]
    (alarm,) = [a for name, a in alarms(template).items() if "TableThrottles" in name]
    asked = _of_table(template)
    for place in places:
        for metric in ("ReadThrottleEvents", "WriteThrottleEvents"):
            assert (metric, {"TableName": table, **place}) in asked
    _assert_a_sum(alarm, of=2 * len(places))


def _assert_a_sum(alarm, *, of):
    (total,) = [metric for metric in alarm["Metrics"] if "Expression" in metric]
    counts = [metric["Id"] for metric in alarm["Metrics"] if metric is not total]
    assert total["Expression"] == " + ".join(f"FILL({count}, 0)" for count in counts)
    assert len(counts) == of
    assert len(alarm["Metrics"]) <= 10  # more is more than CloudWatch takes


def test_the_gateways_write_no_series_that_nobody_looks_at(template):
    """By method or route they are paid for, each as a metric of its own."""
    (rest,) = only(of_type(template, "AWS::ApiGateway::Stage"))["MethodSettings"]
    sockets = only(of_type(template, "AWS::ApiGatewayV2::Stage"))["DefaultRouteSettings"]
    assert rest["MetricsEnabled"] is sockets.get("DetailedMetricsEnabled", False) is False
    asked = {
        frozenset(dimensions)
        for namespace, _, dimensions in _looked_at(template)
        if namespace == "AWS/ApiGateway"
    }
    assert asked == {frozenset({"ApiName"}), frozenset({"ApiId", "Stage"})}


def test_the_cost_model_counts_every_series_that_is_paid_for(template):
    stages = [stage for recipe in RECIPES.values() for stage in recipe.stages]
    ends = [state for state in JobState if state.is_final]
    # Of failures as many as there are names in an hour: the model is of jobs that succeed.
    values = {"recipe": len(RECIPES), "stage": len(stages), "state": len(ends), "error": 0}
    written = [dimensions for _, _, dimensions in set(_emitted())]
    assert sum(prod(values[name] for name in each) for each in written) == cost.METRIC_SERIES
    watched = sum(len(_stats(alarm)) for alarm in alarms(template).values())
    assert watched == cost.ALARM_SERIES


def test_every_metric_of_ours_is_told_of_in_the_operators_table():
    rows = re.findall(r"^\| (`.*`) \|.*\|.*\|.*\|$", (synth.ROOT / RUNBOOK).read_text(), re.M)
    told = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert told == {metric for metric, _, _ in _emitted()}


def test_a_metric_goes_out_under_the_function_that_wrote_it(monkeypatch, capsys):
    """The dimension ``service``, which every series above has, is Powertools' doing."""
    monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", "clearstem-sweep")
    telemetry.measure(telemetry.Measurement("LongestSilence", MetricUnit.Seconds, 1, {}))
    line = json.loads(capsys.readouterr().out)
    (group,) = line["_aws"]["CloudWatchMetrics"]
    assert (group["Namespace"], group["Dimensions"]) == (NAMESPACE, [["service"]])
    assert line["service"] == "clearstem-sweep"
