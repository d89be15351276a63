"""The functions: one a trigger, and where the events end that one of them gives up on."""

from collections.abc import Mapping

import aws_cdk as cdk
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_

from infra.bundling import functions_code
from infra.functions import DeadLetters, ZipFunction
from infra.streaming import streaming_function
from infra.webhooks import COURIER_TIMEOUT_S


class Handlers:
    """The functions of a stack; who may do what is not told here.

    A construct of its own would put its name before theirs.

    Parameters
    ----------
    stream_build : mapping of str to str
        What the streaming image is built with.
    stream_concurrency : int
        Streams at a time, kept for it; 0: what is free.

    Attributes
    ----------
    rest, authorizer, websocket, push, drop, settle, sweep, changes, courier, publish : ZipFunction
        Out of the shared zip.
    stream : aws_lambda.DockerImageFunction
        The API where its answers are streams.
    push_lost, drop_lost, settle_lost, sweep_lost, changes_lost : DeadLetters
        What could not be handled, by whom.
    """

    def __init__(
        self,
        stack: cdk.Stack,
        *,
        environment: Mapping[str, str],
        stream_build: Mapping[str, str],
        stream_concurrency: int,
        key: kms.IKey | None,
    ) -> None:
        self._stack, self._environment, self._code = stack, environment, functions_code()
        self.push_lost = DeadLetters(stack, "PushDeadLetters", key=key)
        self.drop_lost = DeadLetters(stack, "DropDeadLetters", key=key)
        self.settle_lost = DeadLetters(stack, "SettleDeadLetters", key=key)
        self.sweep_lost = DeadLetters(stack, "SweepDeadLetters", key=key)
        self.changes_lost = DeadLetters(stack, "ChangesDeadLetters", key=key)
        # The gateway gives up after 29 s; a whole CPU halves FastAPI's cold start.
        self.rest = self._function("rest", seconds=29, memory_mb=1769)
        # Nobody waits longer at a door. 512 MB: below that importing boto3 is felt.
        self.authorizer = self._function("authorizer", seconds=10)
        self.websocket = self._function("websocket", seconds=10)
        # 25 changes with some watchers each, retried posts included.
        self.push = self._function("push", seconds=60)
        self.drop = self._function("drop", seconds=60, lost=self.drop_lost)
        self.settle = self._function("settle", seconds=30, lost=self.settle_lost)
        # All unfinished jobs, within the five minutes to its next turn, which is its next attempt.
        self.sweep = self._function("sweep", seconds=240, lost=self.sweep_lost, retries=0)
        self.stream = streaming_function(
            stack,
            "StreamHandler",
            environment=environment,
            build_arguments=stream_build,
            concurrency=stream_concurrency,
        )
        # Twenty-five changes of jobs, and some webhooks to tell of each.
        self.changes = self._function("changes", seconds=60)
        # Twice what a receiver has, the lookup of its name and all its addresses in it.
        self.courier = self._function("webhook", seconds=COURIER_TIMEOUT_S)
        # Some small files, at deployments.
        self.publish = self._function("publish", seconds=120)

    @property
    def watched(self) -> dict[str, lambda_.IFunction]:
        """Those that run while the service does, by their module."""
        zipped = (
            self.rest,
            self.authorizer,
            self.websocket,
            self.push,
            self.drop,
            self.settle,
            self.sweep,
            self.changes,
            self.courier,
        )
        return {**{function.module: function for function in zipped}, "stream": self.stream}

    def _function(
        self,
        handler: str,
        *,
        seconds: int,
        memory_mb: int = 512,
        lost: DeadLetters | None = None,
        retries: int | None = None,
    ) -> ZipFunction:
        return ZipFunction(
            self._stack,
            f"{handler.title()}Handler",
            handler=handler,
            code=self._code,
            environment=self._environment,
            timeout=cdk.Duration.seconds(seconds),
            memory_mb=memory_mb,
            dead_letters=lost,
            retries=retries,
        )
