"""Every alarm reaches somebody who can read what to do; every metric it looks at is written."""

import json
import re

from infra import synth
from infra.observability import NAMESPACE, RUNBOOK
from tests.infra.reading import of_type, only

# What functions.changes, functions.webhook, functions.sweep and their `count` calls write.
WRITTEN = {
    "JobsEnded",
    "Failures",
    "QueueSeconds",
    "JobSeconds",
    "JobDollars",
    "StageSeconds",
    "LongestSilence",
    "JobsSwept",
    "WebhooksAnnounced",
    "WebhooksDelivered",
    "WebhookAttemptsFailed",
    "WebhooksGivenUp",
}


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


def test_what_has_no_data_is_no_alarm_but_for_the_clock(template):
    breaching = {
        name
        for name, alarm in alarms(template).items()
        if alarm["TreatMissingData"] != "notBreaching"
    }
    assert {name.removeprefix("Observability")[:12] for name in breaching} == {"SweepStopped"}


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


def test_alarms_and_dashboard_look_at_metrics_that_somebody_writes(template):
    body = json.dumps(only(of_type(template, "AWS::CloudWatch::Dashboard"))["DashboardBody"])
    drawn = set(re.findall(rf'\\"{NAMESPACE}\\",\\"(\w+)\\"', body))
    asked = {
        metric["MetricStat"]["Metric"]["MetricName"]
        for alarm in alarms(template).values()
        for metric in alarm.get("Metrics", ())
        if "MetricStat" in metric
    } | {
        alarm["MetricName"]
        for alarm in alarms(template).values()
        if alarm.get("Namespace") == NAMESPACE
    }
    assert drawn and asked
    assert drawn | asked <= WRITTEN


def test_our_own_metrics_are_asked_for_under_the_function_that_writes_them(template):
    stats = [
        metric["MetricStat"]["Metric"]
        for alarm in alarms(template).values()
        for metric in alarm.get("Metrics", ())
        if "MetricStat" in metric
    ]
    stats += [alarm for alarm in alarms(template).values() if "MetricName" in alarm]
    by = {
        stat["MetricName"]: dimension["Value"]
        for stat in stats
        if stat["Namespace"] == NAMESPACE
        for dimension in stat["Dimensions"]
        if dimension["Name"] == "service"
    }
    assert by == {
        "JobsEnded": "clearstem-changes",
        "JobsSwept": "clearstem-sweep",
        "LongestSilence": "clearstem-sweep",
    }
