"""What benchmarks say: the farthest goal, bytes moved, and figures that have no goal."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from types import SimpleNamespace

import pytest
from botocore.httpsession import URLLib3Session

from bench import __main__ as command
from bench.measure import Outcome, summary
from bench.traffic import counted
from tests.emulator import Account

REACHED = Outcome("a", 1.0, 3.0, 3.0, 2.0, 100.0)
MISSED = Outcome("b", 1.0, 1.5, 1.5, 2.0, 200.0)
TOLD = Outcome("c", 700.0, None, None, None, None, unit="MB moved")


@pytest.mark.parametrize(
    ("outcomes", "worst", "peak"),
    [([REACHED, MISSED, TOLD], MISSED, 200.0), ([TOLD, REACHED], REACHED, 100.0)],
)
def test_a_summary_is_what_is_farthest_from_its_goal(outcomes, worst, peak):
    told = json.loads(summary("all", outcomes).to_json())
    assert (told["name"], told["ratio"], told["peak_rss_mb"]) == ("all", worst.ratio, peak)


def test_a_difference_of_less_than_nothing_reaches_its_goal():
    assert Outcome("overhead", -0.2, None, None, 2.0, None).share > 1


def test_a_figure_without_a_goal_is_no_miss_and_can_be_all_there_is():
    assert TOLD.share == 1
    assert summary("told", [TOLD]).goal is None


def test_bytes_of_objects_are_counted_both_ways_and_those_of_items_are_not(aws: Account):
    storage, table = aws.client("s3"), aws.client("dynamodb")
    storage.create_bucket(Bucket="bench")
    with counted() as moved:
        storage.put_object(Bucket="bench", Key="k", Body=b"x" * 5000)
        assert len(storage.get_object(Bucket="bench", Key="k")["Body"].read()) == 5000
        table.list_tables()
    storage.put_object(Bucket="bench", Key="k", Body=b"x" * 7000)
    assert (moved.read, moved.written) == (5000, 5000)


def test_bytes_that_threads_move_at_once_are_all_counted(monkeypatch):
    together = Barrier(2, timeout=10)

    class Headers(dict):
        def get(self, name):
            if name == "Content-Length":
                together.wait()
            return super().get(name)

    headers = Headers({"Content-Length": "5"})
    answer = SimpleNamespace(headers=headers)
    monkeypatch.setattr(URLLib3Session, "send", lambda *_: answer)
    requests = [SimpleNamespace(method=method, headers=headers) for method in ("GET", "PUT")]
    with counted() as moved, ThreadPoolExecutor(2) as pool:
        for request in requests:
            list(pool.map(URLLib3Session().send, [request] * 2))
    assert (moved.read, moved.written) == (10, 10)


def test_the_report_that_is_kept_is_of_what_is_reported_now():
    kept = command._REPORT.read_text()
    rows = [line for line in kept.splitlines() if line.startswith("| ")]
    assert not [row for row in rows if row.startswith(tuple(f"| {n}:" for n in command._APART))]
    assert kept.endswith(command._NOTES)  # and so with no list of what failed


def test_all_benchmarks_end_with_one_object_too(tmp_path, monkeypatch, capsys):
    def run(arguments, **_):
        if arguments[3] == "start":
            raise subprocess.CalledProcessError(1, arguments)
        found = [MISSED] if arguments[3] == "job" else [REACHED, TOLD]
        return SimpleNamespace(stdout="".join(f"{each.to_json()}\n" for each in found))

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(sys, "argv", ["bench", "all", "--json"])
    monkeypatch.setattr(command, "_REPORT", tmp_path / "benchmarks.md")
    assert command.main() == 1
    *rows, last = map(json.loads, capsys.readouterr().out.splitlines())
    others = 2 * (len(command._REPORTED) - 2)
    assert [row["name"] for row in rows].count("b") == 1 and len(rows) == others + 1
    assert (last["name"], last["ratio"], last["goal"]) == ("all", 1.5, 2.0)
    assert {"peer", "ours", "peak_rss_mb"} <= last.keys()
    written = (tmp_path / "benchmarks.md").read_text()
    assert written.count("\n| a |") == others // 2 and "they failed: start." in written
