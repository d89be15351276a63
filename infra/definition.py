"""A recipe as an Amazon States Language document, in JSONPath style.

Stages run in order, each as a Batch job or, where the recording is short
enough, as a Lambda function of the same image, which starts in seconds. How
much there is to do is read from the job's record: the bytes of the source
before it is decoded, its frames afterwards. What is not known goes to Batch,
and so does what a function could not finish, or what Lambda had no slot or no
function ready for: a stage that is begun again replays what was committed.
A job that has succeeded by then was answered with a stored result: nothing is left to do.

Separation has a GPU for engines that have a use for one. Which engine a job has
is settled before its execution begins and stands in the input.

Nothing else is caught. A stage that failed for good has said so on the job,
everything else that ends an execution is settled by the rule in
``infra.intake``, and an execution that failed can be redriven.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from clearstem.errors import RetryableStageError, ScratchFull
from clearstem.jobs import JobState
from clearstem.recipes import GPU_ENGINES
from clearstem.table_keys import JOB, job_key
from infra.steps import StageJob, Step

State = dict[str, Any]
States = dict[str, State]

# What a task may wait for machines in all, RUNNABLE, which no attempt timeout covers; its
# attempts' own time comes on top. One GPU makes about two thousand songs in a day. What a stage
# reads is kept for longer than that (`infra.lifetimes`), though not for longer than every task:
# noise reduction of the longest recordings may take 84 h, and an attempt that begins after the
# artifacts are gone fails. An operator is told after an hour of waiting (`infra.observability`).
TASK_S: Final = 24 * 3600
ATTEMPTS: Final = 3
# The backstop of the whole: it must never strike before a task's own.
_SLACK_S: Final = 3600
# A function's 15 minutes, and a moment for the answer to arrive.
FUNCTION_S: Final = 900
_ANSWER_S: Final = 30

# The API refusing or failing the call, not the job: `States.TaskFailed` is a
# job that failed after its own attempts and is not tried again. SubmitJob is
# capped at 50/s per account, hence the long and scattered backoff.
_PATIENT: Final[Mapping[str, Any]] = {
    "IntervalSeconds": 2,
    "BackoffRate": 1.5,
    "MaxAttempts": 8,
    "MaxDelaySeconds": 120,
    "JitterStrategy": "FULL",
}
_BATCH_ERRORS: Final = (
    "Batch.AWSBatchException",
    "Batch.ServerException",
    "Batch.TooManyRequestsException",
    "Batch.SdkClientException",
)
# Lambda has no slot: the account's are taken, or as many as this function may have.
_THROTTLED: Final = "Lambda.TooManyRequestsException"
_LAMBDA_ERRORS: Final = (
    "Lambda.ServiceException",
    "Lambda.AWSLambdaException",
    "Lambda.SdkClientException",
    "Lambda.ClientExecutionTimeoutException",
    _THROTTLED,
)
# Lambda refuses the first call of an image that nobody called for weeks, and those that follow
# until the image is prepared anew; or it has just been deployed (developer guide, "Function
# states"). The last of the names is what a call while the function is Pending was seen to get.
_NOT_READY: Final = (
    "Lambda.CodeArtifactUserPendingException",
    "Lambda.CodeArtifactUserDeletedException",
    "Lambda.ResourceNotReadyException",
    "Lambda.ResourceConflictException",
)
# It took 40 to 106 s where it was timed (aws-solutions-library-samples/
# accelerated-intelligent-document-processing-on-aws#801).
_UNTIL_READY: Final[Mapping[str, Any]] = {
    "IntervalSeconds": 10,
    "BackoffRate": 1.0,
    "MaxAttempts": 12,
}
# The image could not be prepared, which another call does not change.
_NEVER_READY: Final = "Lambda.CodeArtifactUserFailedException"
_TABLE_ERRORS: Final = (
    "DynamoDB.ProvisionedThroughputExceededException",
    "DynamoDB.RequestLimitExceeded",
    "DynamoDB.ThrottlingException",
    "DynamoDB.InternalServerError",
    "DynamoDB.SdkClientException",
)
# What Batch does instead: how Lambda tells that a function ran out of time or memory, or was
# killed; what a stage raises that ran out of disk; a slot that did not come free within the
# retries, which add up to a minute and a half at the most; and a function that is not ready
# after two minutes of them.
_LEFT_TO_BATCH: Final = (
    "States.Timeout",
    "Sandbox.Timedout",
    "Lambda.Unknown",
    "Runtime.ExitError",
    "Runtime.OutOfMemory",
    ScratchFull.__name__,
    _THROTTLED,
    *_NOT_READY,
    _NEVER_READY,
)


@dataclass(frozen=True, slots=True)
class QuickWay:
    """The function that runs short stages.

    Attributes
    ----------
    function_arn, table_name : str
        The function, and the table that tells how much there is to do.
    most_bytes, most_frames : str
        Up to this much a stage is the function's: a number, or CDK's stand-in for one.
    """

    function_arn: str
    table_name: str
    most_bytes: str
    most_frames: str


@dataclass(frozen=True, slots=True)
class _Measure:
    """Where the record says how much there is to do, and what the amount is called."""

    unit: str
    path: str


# Where an execution ends whose job its first stage answered with a stored result.
_ANSWERED: Final = "answered"

_SOURCE: Final = _Measure("bytes", "source.M.size_bytes.N")
_AUDIO: Final = _Measure("frames", "audio.M.frames.N")


def definition(
    name: str, planned: Sequence[Step], *, quick: QuickWay, partition: str = "aws"
) -> str:
    """The document of a recipe's steps, as JSON; the job's id goes through all of them.

    Parameters
    ----------
    name : str
        The recipe's.
    planned : sequence of Step
        From `steps`.
    quick : QuickWay
        The function, for the steps that may be one.
    partition : str
        First part of every ARN.
    """
    tasks = _Tasks(quick, partition)
    entries = [tasks.entry(planned, index) for index in range(len(planned))]
    states: States = {}
    for index in range(len(planned)):
        then = entries[index + 1] if index + 1 < len(planned) else None
        states.update(tasks.step(planned, index, then=then))
    document = {
        "Comment": f"Recipe {name}: its stages in order.",
        "StartAt": entries[0],
        "TimeoutSeconds": sum(_longest(step) for step in planned) + _SLACK_S,
        "States": states,
    }
    text = json.dumps(document)
    # CDK's own serializer knows numbers that only a deployment does, and leaves
    # out nulls, which ResultPath needs.
    for number in (quick.most_bytes, quick.most_frames):
        text = text.replace(json.dumps(number), number)
    return text


def _longest(step: Step) -> int:
    own = _task_s(step) + (FUNCTION_S + _ANSWER_S if step.as_function else 0)
    return max(own, _longest(step.light)) if step.light else own


def _task_s(step: Step) -> int:
    """Seconds from SubmitJob to the end of the last attempt."""
    return TASK_S + ATTEMPTS * step.job.attempt_s


@dataclass(frozen=True, slots=True)
class _Tasks:
    """Makes the states of one machine."""

    quick: QuickWay
    partition: str

    def entry(self, planned: Sequence[Step], index: int) -> str:
        """The state a step begins with."""
        step = planned[index]
        if step.light is not None:
            return f"choose_{step.name}"
        return self._begin(step, measure=self._measure(planned, index))

    def _begin(self, step: Step, *, measure: _Measure | None) -> str:
        if not step.as_function:
            return step.name
        return f"read_{measure.unit}" if measure else f"place_{step.name}"

    def step(self, planned: Sequence[Step], index: int, *, then: str | None) -> States:
        """The states of a step, which go on to `then` or end."""
        step, measure = planned[index], self._measure(planned, index)
        onward: State = {"Next": then} if then else {"End": True}
        way = self._way(step, onward, measure=measure, decoded=index > 0)
        if step.light is None:
            return way
        return {
            f"choose_{step.name}": self._choose(step, self._begin(step.light, measure=measure)),
            **self._way(step.light, onward, measure=measure, decoded=index > 0),
            **way,
        }

    def _way(self, step: Step, onward: State, *, measure: _Measure | None, decoded: bool) -> States:
        states: States = {}
        if step.as_function:
            if measure:
                states.update(self._measuring(measure, step))
            states[f"place_{step.name}"] = self._place(step, decoded=decoded)
            states[step.function_name] = {**self._function(step), **onward}
        states[step.name] = {**self._batch(step), **onward}
        return states

    def _choose(self, step: Step, light: str) -> State:
        """By the engine; an execution that does not know it was begun before there was a choice."""
        known: State = {"Variable": "$.engine", "IsPresent": True}
        no_gpus = [
            {"Not": {"Variable": "$.engine", "StringEquals": engine}}
            for engine in sorted(GPU_ENGINES)
        ]
        return {
            "Type": "Choice",
            "Choices": [{"And": [known, *no_gpus], "Next": light}],
            "Default": step.name,
        }

    def _measure(self, planned: Sequence[Step], index: int) -> _Measure | None:
        """What a step measures before it; None where the step before did already."""
        if index == 0:
            return _SOURCE
        # The first stage decodes; from then on the frames are known and stay.
        return _AUDIO if index == 1 or not planned[index - 1].as_function else None

    def _measuring(self, measure: _Measure, step: Step) -> States:
        """Read the record; what is there becomes a number in the input, under its unit."""
        found = f"$.record.Item.{measure.path}"
        return {
            f"read_{measure.unit}": self._read(f"know_{measure.unit}"),
            f"know_{measure.unit}": {
                "Type": "Choice",
                "Choices": [
                    {"And": _has_succeeded(), "Next": _ANSWERED},
                    {"Variable": found, "IsPresent": True, "Next": f"take_{measure.unit}"},
                ],
                "Default": step.name,
            },
            # A number in DynamoDB's JSON is text.
            f"take_{measure.unit}": {
                "Type": "Pass",
                "Parameters": {
                    "job_id.$": "$.job_id",
                    "share.$": "$.share",
                    f"{measure.unit}.$": f"States.StringToJson({found})",
                },
                "Next": f"place_{step.name}",
            },
            _ANSWERED: {"Type": "Succeed"},
        }

    def _read(self, then: str) -> State:
        key = f"States.Format('{job_key('{}')}', $.job_id)"
        return {
            "Type": "Task",
            "Resource": f"arn:{self.partition}:states:::dynamodb:getItem",
            "Parameters": {
                "TableName": self.quick.table_name,
                "Key": {"pk": {"S.$": key}, "sk": {"S": JOB}},
                "ConsistentRead": True,
                "ProjectionExpression": "#source.size_bytes, audio.frames, #state",
                "ExpressionAttributeNames": {"#source": "source", "#state": "state"},
            },
            "ResultPath": "$.record",
            "TimeoutSeconds": _ANSWER_S,
            "Retry": [_retry(_TABLE_ERRORS)],
            "Next": then,
        }

    def _place(self, step: Step, *, decoded: bool) -> State:
        variable = f"$.{(_AUDIO if decoded else _SOURCE).unit}"
        most = self.quick.most_frames if decoded else self.quick.most_bytes
        small = [
            {"Variable": variable, "IsPresent": True},
            # 0: the source lies at an address and has not been fetched.
            {"Variable": variable, "NumericGreaterThan": 0},
            {"Variable": variable, "NumericLessThanEquals": most},
        ]
        return {
            "Type": "Choice",
            "Choices": [{"And": small, "Next": step.function_name}],
            "Default": step.name,
        }

    def _function(self, step: Step) -> State:
        return {
            "Type": "Task",
            "Resource": f"arn:{self.partition}:states:::lambda:invoke",
            "Parameters": {
                "FunctionName": self.quick.function_arn,
                "Payload": {"stages": list(step.stages), "job_id.$": "$.job_id"},
            },
            "ResultPath": None,
            "TimeoutSeconds": FUNCTION_S + _ANSWER_S,
            "Retry": [
                _retry(_LAMBDA_ERRORS),
                {"ErrorEquals": list(_NOT_READY), **_UNTIL_READY},
                {**_retry(tuple(_retryable())), "MaxAttempts": ATTEMPTS - 1},
            ],
            "Catch": [{"ErrorEquals": list(_LEFT_TO_BATCH), "ResultPath": None, "Next": step.name}],
        }

    def _batch(self, step: Step) -> State:
        words = ", ".join(f"'{stage}'" for stage in step.stages)
        return {
            "Type": "Task",
            "Resource": f"arn:{self.partition}:states:::batch:submitJob.sync",
            "Parameters": {
                "JobName.$": f"States.Format('{step.work}-{{}}', $.job_id)",
                "JobQueue": step.job.queue_arn,
                "ShareIdentifier.$": "$.share",
                "SchedulingPriorityOverride": step.priority,
                "JobDefinition": step.job.definition_arn,
                "Timeout": {"AttemptDurationSeconds": step.job.attempt_s},
                "ContainerOverrides": {
                    "Command.$": f"States.Array({words}, '--job-id', $.job_id)",
                    **_resources(step.job),
                },
            },
            "ResultPath": None,
            "TimeoutSeconds": _task_s(step),
            "Retry": [_retry(_BATCH_ERRORS)],
        }


def _has_succeeded() -> list[State]:
    state = "$.record.Item.state.S"
    return [
        {"Variable": state, "IsPresent": True},
        {"Variable": state, "StringEquals": JobState.SUCCEEDED.value},
    ]


def _resources(job: StageJob) -> State:
    asked = {"VCPU": job.vcpus, "MEMORY": job.memory_mb}
    wanted = [{"Type": kind, "Value": str(value)} for kind, value in asked.items() if value]
    return {"ResourceRequirements": wanted} if wanted else {}


def _retry(errors: Sequence[str]) -> State:
    return {"ErrorEquals": list(errors), **_PATIENT}


def _retryable() -> Iterator[str]:
    """What Lambda calls the errors that another attempt may mend: by their classes' names."""
    # A stage may raise the family's own class; Step Functions knows nothing of families.
    kinds: list[type[RetryableStageError]] = [RetryableStageError]
    kinds += RetryableStageError.__subclasses__()
    # The next function would have no more disk.
    return (kind.__name__ for kind in kinds if kind is not ScratchFull)
