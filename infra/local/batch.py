"""AWS Batch whose jobs run: MiniStack answers its calls, and a scheduler here does the work.

MiniStack's own Batch reports every job as succeeded at once. This keeps its stores and its
request routing and takes over job definitions and jobs. Each container image stands for a local
command line, so the same job definitions run the stages as subprocesses.
"""

import contextvars
import json
import logging
import os
import re
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ministack.core import lambda_runtime
from ministack.core.responses import error_response_json, get_account_id, get_region
from ministack.services import batch, eventbridge

from infra.local import selfcheck
from infra.local.job_runner import FINISHED, Record, Run, Scheduler

_DEFINITION_FIELDS = (
    "retryStrategy",
    "timeout",
    "parameters",
    "propagateTags",
    "platformCapabilities",
    "ecsProperties",
    "schedulingPriority",
)
_UNSUPPORTED = ("arrayProperties", "dependsOn", "nodeOverrides", "eksPropertiesOverride")
_DEFINITION_ARN = re.compile(
    r"(?:arn:[^:]+:batch:[^:]+:\d+:job-definition/)?(?P<name>[^:]+)(?::(?P<revision>\d+))?"
)
_HOST_LOST = "Host EC2 (instance local) terminated."  # what AWS says of a reclaimed instance
_log = logging.getLogger(__name__)

Answer = tuple[int, dict[str, str], bytes]
Request = dict[str, Any]
Images = Mapping[str, tuple[str, ...]]

_scheduler: Scheduler | None = None
_images: Images = {}


def install(*, images: Images, slots: int, grace_s: float, scratch_root: Path) -> None:
    """Let MiniStack's Batch run jobs.

    Parameters
    ----------
    images
        Command line by container image; a job runs the one of the longest key that occurs in its
        image's name. The empty key stands for every other image.
    slots
        Jobs that run at a time.
    grace_s
        Seconds from SIGTERM to SIGKILL.
    scratch_root
        Folder for the jobs' temporary files.
    """
    global _scheduler, _images  # noqa: PLW0603 - MiniStack's services are module state too
    _images = images
    selfcheck.replace("ministack.services.batch:_register_job_definition", _keeping_every_field)
    selfcheck.replace("ministack.services.batch:_restore_state", _losing_unfinished_jobs)
    batch._DISPATCH.update(
        {
            "/v1/registerjobdefinition": batch._register_job_definition,
            "/v1/submitjob": submit_job,
            "/v1/describejobs": describe_jobs,
            "/v1/terminatejob": terminate_job,
            "/v1/canceljob": cancel_job,
        }
    )
    _scheduler = Scheduler(
        slots=slots,
        grace_s=grace_s,
        scratch_root=scratch_root,
        now_ms=lambda: int(time.time() * 1000),
        on_change=_emit,
    )


def close() -> None:
    """End all jobs' processes and leave their records as unfinished."""
    if _scheduler is not None:
        _scheduler.close()


def find_run(job_id: str) -> Run | None:
    """The job while it is not finished."""
    return _running().find(job_id)


def record_of(job_id: str) -> Record:
    """What DescribeJobs shows of a job.

    Raises
    ------
    KeyError
        When there is no such job in the account and region.
    """
    record: Record = batch._jobs[job_id]
    return record


def submit_job(request: Request) -> Answer:
    """SubmitJob."""
    for field in ("jobName", "jobQueue", "jobDefinition"):
        if not request.get(field):
            return _refusal(f"{field} is required")
    for field in _UNSUPPORTED:
        if request.get(field):
            return _refusal(f"{field} is not supported by the local twin")
    definition = _find_definition(request["jobDefinition"])
    if definition is None:
        return _refusal(f"JobDefinition {request['jobDefinition']} not found")
    queue_name, error = batch._job_queue_name_from_ref(request["jobQueue"])
    if error:
        refused: Answer = error
        return refused
    if queue_name not in batch._job_queues:
        return _refusal(f"Job Queue {request['jobQueue']} does not exist")
    if problem := _share_problem(request, batch._job_queues[queue_name], definition):
        return _refusal(problem)
    record = _new_record(request, definition, queue_name)
    batch._jobs[record["jobId"]] = record
    _running().submit(_new_run(request, definition, record))
    return _answer({key: record[key] for key in ("jobId", "jobName", "jobArn")})


def describe_jobs(request: Request) -> Answer:
    """DescribeJobs: the jobs that exist among those asked for."""
    jobs = [batch._jobs[job] for job in request.get("jobs") or () if job in batch._jobs]
    return _answer({"jobs": jobs})


def terminate_job(request: Request) -> Answer:
    """TerminateJob: ends a job that runs, and one that does not yet."""
    if request.get("jobId") in batch._jobs:
        _running().stop(request["jobId"], request.get("reason") or "Terminated by user")
    return _answer({})


def cancel_job(request: Request) -> Answer:
    """CancelJob: ends a job only while it waits for a slot."""
    if request.get("jobId") in batch._jobs:
        reason = request.get("reason") or "Canceled by user"
        _running().stop(request["jobId"], reason, started=False)
    return _answer({})


def register_job_definition(request: Request) -> Answer:
    """RegisterJobDefinition, as `install` left it."""
    answer: Answer = batch._register_job_definition(request)
    return answer


def scheduling_policy_arn(name: str) -> str:
    """What a scheduling policy of that name is called."""
    return f"arn:aws:batch:{get_region()}:{get_account_id()}:scheduling-policy/{name}"


def deregister_job_definition(arn: str) -> None:
    """DeregisterJobDefinition: one revision becomes INACTIVE."""
    definition = _find_definition(arn)
    if definition is not None:
        definition["status"] = "INACTIVE"


def _running() -> Scheduler:
    if _scheduler is None:
        raise RuntimeError("infra.local.batch.install() has not been called")
    return _scheduler


def _answer(body: Mapping[str, object]) -> Answer:
    answer: Answer = batch._json(200, body)
    return answer


def _refusal(message: str) -> Answer:
    answer: Answer = error_response_json("ClientException", message, 400)
    return answer


def _keeping_every_field(register: Callable[[Request], Answer]) -> Callable[[Request], Answer]:
    def register_job_definition(request: Request) -> Answer:
        answer = register(request)
        if answer[0] == 200:
            kept = {key: request[key] for key in _DEFINITION_FIELDS if key in request}
            batch._job_definitions[request["jobDefinitionName"]][-1].update(kept)
        return answer

    return register_job_definition


def _losing_unfinished_jobs(
    restore: Callable[[dict[str, Any] | None], None],
) -> Callable[[dict[str, Any] | None], None]:
    """Processes died with the emulator, so jobs that ran are lost like those of a dead host."""

    def restore_state(data: dict[str, Any] | None) -> None:
        restore(data)
        for record in batch._jobs._data.values():
            if record["status"] not in FINISHED:
                now_ms = int(time.time() * 1000)
                record.update(status="FAILED", statusReason=_HOST_LOST, stoppedAt=now_ms)

    return restore_state


def _find_definition(reference: str) -> Record | None:
    """The newest active revision that a name, name:revision or ARN means."""
    match = _DEFINITION_ARN.fullmatch(reference)
    if match is None:
        return None
    revisions = [
        definition
        for definition in batch._job_definitions.get(match["name"], [])
        if definition["status"] == "ACTIVE"
        and match["revision"] in (None, str(definition["revision"]))
    ]
    return revisions[-1] if revisions else None


def _container(definition: Record) -> Record:
    """The main container, from either of the two places that definitions keep it in."""
    if definition.get("containerProperties"):
        return dict(definition["containerProperties"])
    tasks = (definition.get("ecsProperties") or {}).get("taskProperties") or [{}]
    return dict((tasks[0].get("containers") or [{}])[0])


def _share_problem(request: Request, queue: Record, definition: Record) -> str | None:
    """What Batch refuses a submission for, where the queue has a fair-share policy or none."""
    if not queue.get("schedulingPolicyArn"):
        if request.get("shareIdentifier"):
            return "shareIdentifier is given, and the job queue has no scheduling policy"
        return None
    if not request.get("shareIdentifier"):
        return "shareIdentifier is required: the job queue has a fair-share scheduling policy"
    if _priority(request, definition) is None:
        return "schedulingPriority or schedulingPriorityOverride is required by the job queue"
    return None


def _priority(request: Request, definition: Record) -> int | None:
    priority = request.get("schedulingPriorityOverride", definition.get("schedulingPriority"))
    return None if priority is None else int(priority)


def _new_record(request: Request, definition: Record, queue_name: str) -> Record:
    job_id = str(uuid.uuid4())
    container, overrides = _container(definition), request.get("containerOverrides") or {}
    environment = {
        entry["name"]: entry.get("value", "")
        for entry in (*container.get("environment", ()), *overrides.get("environment", ()))
    }
    return {
        "jobId": job_id,
        "jobArn": batch._job_arn(job_id),
        "jobName": request["jobName"],
        "jobQueue": batch._jq_arn(queue_name),
        "jobDefinition": definition["jobDefinitionArn"],
        "status": "SUBMITTED",
        **{key: request[key] for key in ("shareIdentifier",) if key in request},
        "schedulingPriority": _priority(request, definition) or 0,
        "attempts": [],
        "createdAt": int(time.time() * 1000),
        "dependsOn": [],
        "parameters": {**definition.get("parameters", {}), **(request.get("parameters") or {})},
        "retryStrategy": request.get("retryStrategy") or definition.get("retryStrategy") or {},
        "timeout": request.get("timeout") or definition.get("timeout") or {},
        "tags": request.get("tags") or {},
        "container": {
            "image": container.get("image", ""),
            "command": overrides.get("command") or container.get("command") or [],
            "environment": [{"name": key, "value": environment[key]} for key in environment],
            **({"jobRoleArn": container["jobRoleArn"]} if "jobRoleArn" in container else {}),
        },
    }


def _new_run(request: Request, definition: Record, record: Record) -> Run:
    logging_of: Record = _container(definition).get("logConfiguration") or {}
    options: dict[str, str] = logging_of.get("options") or {}
    return Run(
        record=record,
        command=_command_line(record),
        environment=_environment(record),
        retry_strategy=record["retryStrategy"],
        timeout_s=record["timeout"].get("attemptDurationSeconds"),
        log_group=options.get("awslogs-group", "/aws/batch/job"),
        log_prefix=options.get("awslogs-stream-prefix") or definition["jobDefinitionName"],
        context=contextvars.copy_context(),
    )


def _command_line(record: Record) -> list[str] | None:
    image = record["container"]["image"]
    keys = sorted((key for key in _images if key in image), key=len)
    if not keys:
        return None

    def parameter(match: re.Match[str]) -> str:
        return str(record["parameters"].get(match[1], match[0]))

    words = [re.sub(r"Ref::(\w+)", parameter, word) for word in record["container"]["command"]]
    return [*_images[keys[-1]], *words]


def _environment(record: Record) -> dict[str, str]:
    """What the container sees: this machine's tools, the emulator as its AWS, its own variables.

    The host's AWS and clearstem variables stay outside: a stage must not find a real account.
    Nor a region: on instances ECS may name none, so the job definition has to.
    """
    host = {key: value for key, value in os.environ.items() if not _is_foreign(key)}
    return {
        **host,
        "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
        "PYTHONUNBUFFERED": "1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{os.environ['GATEWAY_PORT']}",
        "AWS_CONFIG_FILE": os.devnull,  # a container finds no profile, nor the region of one
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        **_credentials(record),
        **{entry["name"]: entry["value"] for entry in record["container"]["environment"]},
        "AWS_BATCH_JOB_ID": record["jobId"],
        "AWS_BATCH_JQ_NAME": record["jobQueue"].rpartition("/")[2],
        "AWS_BATCH_CE_NAME": "local",
    }


def _is_foreign(variable: str) -> bool:
    return variable.startswith(("AWS_", "CLEARSTEM_", "POWERTOOLS_"))


def _credentials(record: Record) -> dict[str, str]:
    """The account's credentials, or under AUTH a session of the job's role."""
    arn = f"arn:aws:lambda:{get_region()}:{get_account_id()}:function:batch-job"
    role = record["container"].get("jobRoleArn", "")
    credentials: dict[str, str] = lambda_runtime.execution_credentials(
        {"FunctionArn": arn, "FunctionName": "batch-job", "Role": role}
    )
    return {key: value for key, value in credentials.items() if value}


def _emit(record: Record) -> None:
    """Publish the status as EventBridge's ``Batch Job State Change``."""
    entry = {
        "Source": "aws.batch",
        "DetailType": "Batch Job State Change",
        "Detail": json.dumps(record),
        "Resources": [record["jobArn"]],
    }
    status, _, body = eventbridge._put_events({"Entries": [entry]}, allow_aws_source=True)
    if status != 200:
        _log.error("no event for job %s: %s", record["jobId"], body)
