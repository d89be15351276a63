"""What outlives the emulator: a clean stop, a kill, and jobs that ran when it came."""

import json
import os
import resource
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.local import journal
from infra.local.emulator import ACCOUNT
from infra.local.processes import HOST, free_port
from tests.emulator import PYTHON_IMAGE, Account, until


class Process:
    """The emulator as a process that can be stopped, killed and started again."""

    def __init__(self, state: Path, *options: str) -> None:
        self.state = state
        self.options = options
        self.process: subprocess.Popen[bytes] | None = None
        self.account = Account("", ACCOUNT)

    def start(self) -> None:
        port, ready = free_port(), self.state / "ready.json"
        ready.unlink(missing_ok=True)
        command = [sys.executable, "-m", "infra.local.emulator", "--port", str(port)]
        command += ["--state", str(self.state), "--ready-file", str(ready), "--grace", "0.5"]
        command += ["--image", f"{PYTHON_IMAGE}={sys.executable}", *self.options]
        with (self.state / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        until(ready.exists)
        self.account = Account(f"http://{HOST}:{port}", ACCOUNT)

    def control(self, command: str) -> Any:
        url = f"{self.account.endpoint}/_clearstem/{command}"
        with urllib.request.urlopen(url, data=b"") as answer:
            return json.loads(answer.read())

    def end(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)
        self.process.wait(20)

    def restart(self, number: signal.Signals) -> None:
        self.end(number)
        self.start()


@pytest.fixture
def emulator_process(tmp_path: Path) -> Iterator[Process]:
    process = Process(tmp_path)
    process.start()
    yield process
    process.end(signal.SIGKILL)


def set_up(process: Process, marks: Path) -> str:
    """A table, a bucket, and a machine whose job appends to `marks` and then waits for a file."""
    aws = process.account
    aws.client("dynamodb").create_table(
        TableName="table",
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    aws.client("s3").create_bucket(Bucket="bucket")
    code = f"""
import os, pathlib, time
with open({str(marks)!r}, "a") as file:
    file.write(f"{{os.getpid()}}\\n")
while not pathlib.Path({str(marks)!r} + ".go").exists():
    time.sleep(0.02)
"""
    batch = aws.client("batch")
    batch.create_job_queue(jobQueueName="queue", priority=1, computeEnvironmentOrder=[])
    batch.register_job_definition(
        jobDefinitionName="definition",
        type="container",
        containerProperties={"image": PYTHON_IMAGE, "command": ["-c", code]},
    )
    task = {
        "Type": "Task",
        "Resource": "arn:aws:states:::batch:submitJob.sync",
        "Parameters": {"JobName": "j", "JobDefinition": "definition", "JobQueue": "queue"},
        "End": True,
    }
    arn = aws.client("stepfunctions").create_state_machine(
        name="machine",
        definition=json.dumps({"StartAt": "only", "States": {"only": task}}),
        roleArn=f"arn:aws:iam::{aws.number}:role/test",
    )["stateMachineArn"]
    process.control("snapshot")
    return str(arn)


def item(process: Process, key: str) -> Any:
    table = process.account.client("dynamodb")
    return table.get_item(TableName="table", Key={"pk": {"S": key}}).get("Item")


def lines(path: Path) -> list[str]:
    return path.read_text().split() if path.exists() else []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_items_and_objects_are_there_after_the_end(
    emulator_process: Process, tmp_path: Path, number: signal.Signals
) -> None:
    set_up(emulator_process, tmp_path / "marks")
    table = emulator_process.account.client("dynamodb")
    for key in ("kept", "changed", "deleted"):
        table.put_item(TableName="table", Item={"pk": {"S": key}, "n": {"N": "1"}})
    table.update_item(
        TableName="table",
        Key={"pk": {"S": "changed"}},
        UpdateExpression="SET n = :n",
        ExpressionAttributeValues={":n": {"N": "2"}},
    )
    table.delete_item(TableName="table", Key={"pk": {"S": "deleted"}})
    emulator_process.account.client("s3").put_object(Bucket="bucket", Key="a/b", Body=b"bytes")
    emulator_process.restart(number)
    assert item(emulator_process, "kept") == {"pk": {"S": "kept"}, "n": {"N": "1"}}
    assert item(emulator_process, "changed") == {"pk": {"S": "changed"}, "n": {"N": "2"}}
    assert item(emulator_process, "deleted") is None
    s3 = emulator_process.account.client("s3")
    assert s3.get_object(Bucket="bucket", Key="a/b")["Body"].read() == b"bytes"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_an_execution_that_ran_is_run_again_under_its_name(
    emulator_process: Process, tmp_path: Path, number: signal.Signals
) -> None:
    marks = tmp_path / "marks"
    machine = set_up(emulator_process, marks)
    states = emulator_process.account.client("stepfunctions")
    arn = states.start_execution(stateMachineArn=machine, name="job-1")["executionArn"]
    until(lambda: len(lines(marks)) == 1)
    emulator_process.restart(number)
    until(lambda: not running(int(lines(marks)[0])))  # the job died with its emulator
    states = emulator_process.account.client("stepfunctions")
    assert states.describe_execution(executionArn=arn)["status"] == "RUNNING"
    assert emulator_process.control("resume") == {"resumed": 1}
    until(lambda: len(lines(marks)) == 2)
    marks.with_suffix(".go").touch()
    until(lambda: states.describe_execution(executionArn=arn)["status"] == "SUCCEEDED")


def running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"


def test_a_start_that_was_answered_is_not_forgotten(
    emulator_process: Process, tmp_path: Path
) -> None:
    """The kill follows the answer at once, long before any snapshot."""
    marks = tmp_path / "marks"
    machine = set_up(emulator_process, marks)
    aws = emulator_process.account
    table, states = aws.client("dynamodb"), aws.client("stepfunctions")
    table.put_item(TableName="table", Item={"pk": {"S": "job-1"}})
    states.start_execution(stateMachineArn=machine, name="job-1")
    emulator_process.restart(signal.SIGKILL)
    assert item(emulator_process, "job-1") == {"pk": {"S": "job-1"}}
    assert emulator_process.control("resume") == {"resumed": 1}
    until(lambda: len(lines(marks)) >= 1)


def test_an_execution_that_cannot_go_on_fails_and_says_so(
    emulator_process: Process, tmp_path: Path
) -> None:
    marks = tmp_path / "marks"
    machine = set_up(emulator_process, marks)
    states = emulator_process.account.client("stepfunctions")
    arn = states.start_execution(stateMachineArn=machine, name="job-1")["executionArn"]
    until(lambda: len(lines(marks)) == 1)
    queue = emulator_process.account.queue("seen")
    events = emulator_process.account.client("events")
    pattern = json.dumps({"source": ["aws.states"], "detail": {"status": ["FAILED"]}})
    events.put_rule(Name="rule", EventPattern=pattern)
    events.put_targets(Rule="rule", Targets=[{"Id": "queue", "Arn": queue.arn}])
    emulator_process.control("snapshot")
    emulator_process.end(signal.SIGKILL)
    forget_state_machines(emulator_process.state / "aws" / "stepfunctions.json")
    emulator_process.start()
    emulator_process.control("resume")
    queue = type(queue)(emulator_process.account.client("sqs"), queue_url(emulator_process), "")
    detail = json.loads(queue.receive()[0])["detail"]
    assert (detail["executionArn"], detail["status"]) == (arn, "FAILED")


def forget_state_machines(path: Path) -> None:
    saved = json.loads(path.read_text())
    saved["payload"]["state_machines"]["data"] = {}
    path.write_text(json.dumps(saved))


def queue_url(process: Process) -> str:
    return str(process.account.client("sqs").get_queue_url(QueueName="seen")["QueueUrl"])


def test_finished_executions_are_not_run_again(emulator_process: Process, tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    marks.with_suffix(".go").touch()
    machine = set_up(emulator_process, marks)
    states = emulator_process.account.client("stepfunctions")
    arn = states.start_execution(stateMachineArn=machine, name="job-1")["executionArn"]
    until(lambda: states.describe_execution(executionArn=arn)["status"] == "SUCCEEDED")
    emulator_process.restart(signal.SIGKILL)
    assert emulator_process.control("resume") == {"resumed": 0}
    states = emulator_process.account.client("stepfunctions")
    assert states.describe_execution(executionArn=arn)["status"] == "SUCCEEDED"


def test_a_second_emulator_on_the_same_state_is_refused(emulator_process: Process) -> None:
    from infra.local.processes import hold

    with pytest.raises(BlockingIOError):
        hold(emulator_process.state / "emulator.lock")


def test_the_emulator_ends_with_the_process_that_is_its_parent(tmp_path: Path) -> None:
    port, ready = free_port(), tmp_path / "ready.json"
    code = f"""
import os, subprocess, sys, time
subprocess.Popen([sys.executable, "-m", "infra.local.emulator", "--port", "{port}", "--state",
    {str(tmp_path)!r}, "--ready-file", {str(ready)!r}, "--parent", str(os.getpid())])
time.sleep(60)
"""
    parent = subprocess.Popen([sys.executable, "-c", code])
    until(ready.exists)
    pid = json.loads(ready.read_text())["pid"]
    parent.kill()
    parent.wait()
    until(lambda: not running(pid))


def change(key: str, value: Any) -> journal.Change:
    return journal.Change("item", ACCOUNT, "us-east-1", ["table", key, ""], value)


def test_a_journal_that_was_cut_off_is_read_up_to_the_cut(tmp_path: Path) -> None:
    written = journal.Journal(tmp_path)
    for number in range(3):
        written.append(change("a", number))
    written.close()
    (path,) = journal.journal_files(tmp_path)
    path.write_bytes(path.read_bytes()[:-5])
    assert [entry.value for entry in journal.read_changes(tmp_path)] == [0, 1]


def test_a_rotated_journal_is_read_in_the_order_of_writing(tmp_path: Path) -> None:
    written = journal.Journal(tmp_path)
    written.append(change("a", 1))
    older = written.rotate()
    written.append(change("a", 2))
    assert [entry.value for entry in journal.read_changes(tmp_path)] == [1, 2]
    for path in older:
        path.unlink()
    assert [entry.value for entry in journal.read_changes(tmp_path)] == [2]
    written.close()


@pytest.fixture
def nearly_full_disk() -> Iterator[Callable[[int], None]]:
    """Lets files grow to so many bytes: what is beyond is written in part, then refused."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size_bytes: resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_line_that_the_disk_has_no_room_for_leaves_no_part(
    tmp_path: Path, nearly_full_disk: Callable[[int], None]
) -> None:
    written = journal.Journal(tmp_path)
    written.append(change("a", 1))
    (path,) = journal.journal_files(tmp_path)
    nearly_full_disk(path.stat().st_size + 70)
    with pytest.raises(OSError, match="too large"):
        written.append(change("a", "long" * 100))
    written.append(change("a", 2))  # a shorter one has room
    written.close()
    assert [entry.value for entry in journal.read_changes(tmp_path)] == [1, 2]
    assert path.read_text().count("\n") == 2


@pytest.mark.parametrize(
    "damage", [b'["item",["item",{}]\n', b"[1]\n", b"null\n", b"\xff\n", b"\n"]
)
def test_a_damaged_line_is_told_and_takes_no_other_along(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: bytes
) -> None:
    written = journal.Journal(tmp_path)
    written.append(change("a", 1))
    (path,) = journal.journal_files(tmp_path)
    with path.open("ab") as file:
        file.write(damage)
    written.append(change("a", 2))
    written.close()
    assert [entry.value for entry in journal.read_changes(tmp_path)] == [1, 2]
    assert f"{path} is damaged in line 2" in caplog.text


def test_a_journal_that_cannot_go_on_in_a_new_file_goes_on_in_its_present_one(
    tmp_path: Path,
) -> None:
    folder, elsewhere = tmp_path / "journal", tmp_path / "elsewhere"
    written = journal.Journal(folder)
    folder.rename(elsewhere)
    with pytest.raises(FileNotFoundError):
        written.rotate()
    written.append(change("a", 1))
    written.close()
    assert [entry.value for entry in journal.read_changes(elsewhere)] == [1]


def test_snapshots_go_on_once_there_is_room_again(tmp_path: Path) -> None:
    process = Process(tmp_path, "--snapshot-every", "0.1")
    process.start()
    try:
        set_up(process, tmp_path / "marks")
        saved = tmp_path / "aws" / "dynamodb.json"
        in_the_way = saved.with_suffix(".part")
        in_the_way.mkdir()
        table = process.account.client("dynamodb")
        table.put_item(TableName="table", Item={"pk": {"S": "late"}})
        until(lambda: "no snapshot" in (tmp_path / "log").read_text())
        assert "late" not in saved.read_text()
        in_the_way.rmdir()
        until(lambda: "late" in saved.read_text())
    finally:
        process.end(signal.SIGKILL)
