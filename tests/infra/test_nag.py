"""How cdk-nag's findings are held against what is accepted; `make check` runs the packs."""

import pytest

from infra.nag import ACCEPTED, Accepted, Finding, problems, read_report

OPEN = Finding("AwsSolutions-IAM5[Resource::*]", "Stages/Role/DefaultPolicy/Resource")
MEANT = Accepted(r"AwsSolutions-IAM5\[Resource::\*\]", r"Stages/.*", "it is meant")


def test_a_finding_with_a_reason_is_no_problem():
    assert problems([OPEN], (MEANT,)) == []


def test_a_finding_without_a_reason_is_named_with_its_place():
    assert problems([OPEN], ()) == [str(OPEN)]


def test_a_reason_covers_no_more_than_it_says():
    elsewhere = Finding(OPEN.rule, "Rest/Role/DefaultPolicy/Resource")
    wider = Finding("AwsSolutions-IAM5[Action::*]", OPEN.path)
    assert problems([OPEN, elsewhere, wider], (MEANT,)) == [str(elsewhere), str(wider)]


def test_a_reason_that_nothing_needs_any_more_is_reported():
    (told,) = problems([], (MEANT,))
    assert "never found" in told


def test_a_report_is_read_finding_by_finding():
    places = [{"constructPath": "clearstem/A/Resource"}, {"constructPath": "clearstem/B"}]
    violation = {"ruleName": "AwsSolutions-S1", "violatingConstructs": places}
    report = {"pluginReports": [{"violations": [violation]}, {"violations": []}]}
    assert list(read_report(report)) == [
        Finding("AwsSolutions-S1", "A/Resource"),
        Finding("AwsSolutions-S1", "B"),
    ]


@pytest.mark.parametrize("entry", ACCEPTED, ids=lambda entry: entry.rule)
def test_every_acceptance_gives_a_reason_and_names_a_place(entry):
    assert len(entry.reason.split()) >= 4
    assert entry.path not in ("", ".*")
