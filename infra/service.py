"""The stack: which parts there are, and who may do what to which.

Every grant of the deployment stands in this file, in `_grant_*`, so that a
role's powers are read in one place. The parts know nothing of each other.
"""

from typing import Any, Final

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from constructs import Construct

from clearstem.intake import DONE_PREFIX, DROP_PREFIX
from clearstem.recipes import DENOISE, RECIPES, SEPARATE, Recipe
from infra.bundling import functions_code
from infra.compute import Network, Queues
from infra.functions import DeadLetters, ZipFunction
from infra.intake import BadEndings, Sweep, watch_drop
from infra.live import LiveApi, push_changes
from infra.rest_api import RestApi
from infra.stages import RecipeMachine, StageTasks
from infra.storage import Storage
from infra.webhooks import COURIER_TIMEOUT_S, WebhookQueues, dispatch_changes

# Presigned URLs and keys carry the authority; a page's origin adds none.
_CORS_ORIGINS: Final = ("*",)
_MAX_UPLOAD_BYTES: Final = 500 * 1024 * 1024
# What the Munsit dialect's documents say.
_VOICE_MAX_UPLOAD_BYTES: Final = 200 * 1024 * 1024
_VOICE_MAX_DURATION_S: Final = 900

_DROPPED: Final = f"{DROP_PREFIX}*"
_DONE: Final = f"{DONE_PREFIX}*"

_READ_ITEM: Final = ("dynamodb:GetItem",)
# A job is replaced under a condition; when it leaves the queue, its ticket is
# deleted in the same transaction.
_CHANGE_JOB: Final = (
    "dynamodb:GetItem",
    "dynamodb:PutItem",
    "dynamodb:UpdateItem",
    "dynamodb:DeleteItem",
)
# The log of a job that is deleted, in batches.
_DELETE_LOG: Final = ("dynamodb:BatchWriteItem",)


class Service(cdk.Stack):
    """All of clearstem in one account and region."""

    def __init__(self, scope: Construct, id: str, **options: Any) -> None:
        super().__init__(scope, id, **options)
        self._declare_parameters()
        self._storage = Storage(self, "Storage", cors_origins=_CORS_ORIGINS)
        network = Network(self, "Network")
        self._tasks = StageTasks(
            self,
            "Stages",
            queues=Queues(self, "Queues", network=network),
            environment=self._environment(),
        )
        self._machines = {
            recipe.name: RecipeMachine(
                self, recipe.name.title(), recipe=recipe, tasks=self._tasks
            ).machine
            for recipe in RECIPES.values()
        }
        self._live = LiveApi(self, "Live")
        self._webhooks = WebhookQueues(self, "Webhooks")
        self._create_functions()
        self._connect_triggers()
        self._rest_api = RestApi(self, "Rest", function=self._rest, authorizer=self._authorizer)
        self._grant_storage()
        self._grant_webhooks()
        self._grant_executions()
        self._grant_batch()
        self._name_outputs()

    def _declare_parameters(self) -> None:
        self._keyless_owner = self._parameter(
            "KeylessOwner", "Who calls without a key; empty: a key is always needed."
        )
        self._oidc = {
            name: self._parameter(name, description)
            for name, description in (
                ("OidcIssuer", "Whose bearer tokens are taken; empty: nobody's."),
                ("OidcAudience", "For whom those tokens must be."),
                ("OidcJwksUrl", "Where the issuer publishes its keys, by https."),
            )
        }
        self._separator_model = self._parameter(
            "SeparatorModel", "Model whose weights are baked into the stage images; empty: none."
        )
        self._denoiser_model = self._parameter(
            "DenoiserModel", "Neural denoiser whose files are part of the images; empty: none."
        )
        self._models_dir = self._parameter(
            "ModelsDir", "Folder of the stage images searched for weights; empty: none."
        )
        self._management_url = self._parameter(
            "WebSocketManagementUrl", "Where pushes are posted; empty: the API's own address."
        )

    def _parameter(self, name: str, description: str) -> cdk.CfnParameter:
        return cdk.CfnParameter(self, name, type="String", default="", description=description)

    def _environment(self) -> dict[str, str]:
        """What `clearstem.settings` reads in functions and stages alike."""
        storage = self._storage
        return {
            "CLEARSTEM_TABLE": storage.table.table_name,
            "CLEARSTEM_UPLOADS_BUCKET": storage.uploads.bucket_name,
            "CLEARSTEM_WORK_BUCKET": storage.work.bucket_name,
            "CLEARSTEM_TRACKS_BUCKET": storage.tracks.bucket_name,
            "CLEARSTEM_DROP_BUCKET": storage.drop.bucket_name,
            "CLEARSTEM_SEPARATOR_MODEL": self._separator_model.value_as_string,
            "CLEARSTEM_DENOISER_MODEL": self._denoiser_model.value_as_string,
            "CLEARSTEM_MODELS_DIR": self._models_dir.value_as_string,
            "CLEARSTEM_MAX_UPLOAD_BYTES": str(_MAX_UPLOAD_BYTES),
            "CLEARSTEM_VOICE_MAX_UPLOAD_BYTES": str(_VOICE_MAX_UPLOAD_BYTES),
            "CLEARSTEM_VOICE_MAX_DURATION_S": str(_VOICE_MAX_DURATION_S),
            "POWERTOOLS_SERVICE_NAME": "clearstem-stage",
            "POWERTOOLS_METRICS_NAMESPACE": "clearstem",
            "LOG_LEVEL": "INFO",
        }

    def _function_environment(self) -> dict[str, str]:
        """What functions are told besides: stages start nothing and push nothing."""
        return {
            **self._environment(),
            "CLEARSTEM_SEPARATE_STATE_MACHINE_ARN": self._arn_of(SEPARATE),
            "CLEARSTEM_DENOISE_STATE_MACHINE_ARN": self._arn_of(DENOISE),
            "CLEARSTEM_WEBSOCKET_URL": self._websocket_url(),
            "CLEARSTEM_KEYLESS_OWNER": self._keyless_owner.value_as_string,
            "CLEARSTEM_CORS_ORIGINS": ",".join(_CORS_ORIGINS),
            "CLEARSTEM_OIDC_ISSUER": self._oidc["OidcIssuer"].value_as_string,
            "CLEARSTEM_OIDC_AUDIENCE": self._oidc["OidcAudience"].value_as_string,
            "CLEARSTEM_OIDC_JWKS_URL": self._oidc["OidcJwksUrl"].value_as_string,
            "CLEARSTEM_WEBHOOK_QUEUE_URL": self._webhooks.orders.queue_url,
            "CLEARSTEM_WEBHOOK_DEAD_LETTERS_URL": self._webhooks.given_up.queue_url,
            # API Gateway ends bodies at 6 MB: tracks go by a redirect to storage.
            "CLEARSTEM_STREAM_DOWNLOADS": "",
        }

    def _arn_of(self, recipe: Recipe) -> str:
        return self._machines[recipe.name].state_machine_arn

    def _websocket_url(self) -> str:
        own = cdk.CfnCondition(
            self,
            "OwnManagementUrl",
            expression=cdk.Fn.condition_equals(self._management_url.value_as_string, ""),
        )
        return cdk.Token.as_string(
            cdk.Fn.condition_if(
                own.logical_id,
                self._live.stage.callback_url,
                self._management_url.value_as_string,
            )
        )

    def _create_functions(self) -> None:
        code, environment = functions_code(), self._function_environment()

        def function(
            handler: str, *, seconds: int, memory_mb: int = 512, lost: DeadLetters | None = None
        ) -> ZipFunction:
            return ZipFunction(
                self,
                f"{handler.title()}Handler",
                handler=handler,
                code=code,
                environment=environment,
                timeout=cdk.Duration.seconds(seconds),
                memory_mb=memory_mb,
                dead_letters=lost,
            )

        self._push_lost = DeadLetters(self, "PushDeadLetters")
        self._drop_lost = DeadLetters(self, "DropDeadLetters")
        self._settle_lost = DeadLetters(self, "SettleDeadLetters")
        self._dispatch_lost = DeadLetters(self, "DispatchDeadLetters")
        # The gateway gives up after 29 s; a whole CPU halves FastAPI's cold start.
        self._rest = function("rest", seconds=29, memory_mb=1769)
        # Nobody waits longer at a door. 512 MB: below that importing boto3 is felt.
        self._authorizer = function("authorizer", seconds=10)
        self._websocket = function("websocket", seconds=10)
        # 25 changes with some watchers each, retried posts included.
        self._push = function("push", seconds=60)
        self._drop = function("drop", seconds=60, lost=self._drop_lost)
        self._settle = function("settle", seconds=30, lost=self._settle_lost)
        # All unfinished jobs, within the five minutes to its next turn.
        self._sweep = function("sweep", seconds=240)
        self._dispatch = function("dispatch", seconds=60)
        # A receiver has 15 s, and its name half of that to be looked up.
        self._courier = function("webhook", seconds=COURIER_TIMEOUT_S)

    def _connect_triggers(self) -> None:
        self._live.connect(self._websocket, authorizer=self._authorizer)
        push_changes(self._storage.table, to=self._push, dead_letters=self._push_lost)
        dispatch_changes(self._storage.table, to=self._dispatch, dead_letters=self._dispatch_lost)
        self._webhooks.attempt_by(self._courier)
        watch_drop(self._storage.drop, function=self._drop)
        BadEndings(
            self,
            "BadEndings",
            machines=list(self._machines.values()),
            function=self._settle,
            dead_letters=self._settle_lost,
        )
        Sweep(self, "Sweeping", function=self._sweep)

    def _grant_storage(self) -> None:
        storage, table = self._storage, self._storage.table
        listed = "dynamodb:Query"
        table.grant(self._rest, *_CHANGE_JOB, listed, "dynamodb:BatchGetItem")
        # It notes when a key was last used, and uses tickets up.
        table.grant(self._authorizer, *_READ_ITEM, "dynamodb:UpdateItem", "dynamodb:DeleteItem")
        for watcher in (self._websocket, self._push):
            table.grant(watcher, *_READ_ITEM, listed, "dynamodb:DeleteItem")
        table.grant(self._websocket, "dynamodb:PutItem")
        table.grant(self._sweep, listed)
        for changer in (self._drop, self._settle, self._sweep, self._tasks.role):
            table.grant(changer, *_CHANGE_JOB)
        for remover in (self._rest, self._sweep):
            self._grant_removal(remover)

        # A presigned URL can do what its signer may: the REST function signs
        # writes to uploads and reads of results.
        storage.uploads.grant_read(self._rest)
        storage.uploads.grant_put(self._rest)
        storage.tracks.grant_read(self._rest)
        storage.drop.grant_read(self._rest, _DONE)
        storage.drop.grant_read(self._drop, _DROPPED)
        # Why a dropped object became no job is said beside the results.
        storage.drop.grant_put(self._drop, _DONE)

        stage = self._tasks.role
        storage.uploads.grant_read(stage)
        storage.drop.grant_read(stage, _DROPPED)
        storage.drop.grant_put(stage, _DONE)
        for bucket in (storage.work, storage.tracks):
            bucket.grant_read(stage)
            bucket.grant_put(stage)

        # Push sends snapshots; the socket's own function says what was wrong with a message.
        for sender in (self._push, self._websocket):
            self._live.stage.grant_management_api_access(sender)

    def _grant_webhooks(self) -> None:
        """Who sets deliveries on their way, and who makes their attempts."""
        table, queues = self._storage.table, self._webhooks
        table.grant(self._dispatch, *_READ_ITEM, "dynamodb:PutItem", "dynamodb:Query")
        # It notes what came of an attempt, and disables what answers 410.
        table.grant(self._courier, *_CHANGE_JOB)
        # An owner may remove his webhooks, and use a ticket.
        table.grant(self._rest, "dynamodb:DeleteItem")
        for sender in (self._dispatch, self._courier, self._rest, self._sweep):
            queues.orders.grant_send_messages(sender)
        queues.given_up.grant_send_messages(self._courier)

    def _grant_removal(self, remover: ZipFunction) -> None:
        """What `clearstem.removal` needs: to find a job's files, and to delete them."""
        storage = self._storage
        storage.table.grant(remover, *_DELETE_LOG)
        buckets = (storage.uploads, storage.work, storage.tracks, storage.drop)
        for bucket in buckets:
            bucket.grant_delete(remover)
        remover.add_to_role_policy(
            iam.PolicyStatement(
                actions=["s3:ListBucket"], resources=[bucket.bucket_arn for bucket in buckets]
            )
        )

    def _grant_executions(self) -> None:
        for machine in self._machines.values():
            for starter in (self._rest, self._sweep):
                machine.grant_start_execution(starter)
                # Cancelling a job, also one that is to be deleted, ends its work.
                machine.grant_execution(starter, "states:StopExecution")
            machine.grant_execution(self._sweep, "states:DescribeExecution")
        # What is dropped into the bucket is separated.
        self._machines[SEPARATE.name].grant_start_execution(self._drop)

    def _grant_batch(self) -> None:
        """What ``batch:submitJob.sync`` needs of each state machine's role."""
        for recipe in RECIPES.values():
            self._grant_batch_to(self._machines[recipe.name].role, recipe=recipe)

    def _grant_batch_to(self, role: iam.IRole, *, recipe: Recipe) -> None:
        jobs = [self._tasks.job(stage.name) for stage in recipe.stages]
        definitions = [
            self._arn("batch", "job-definition", f"{name}:*")
            for name in sorted({job.name for job in jobs})
        ]
        queues = sorted({job.queue_arn for job in jobs})
        role.add_to_principal_policy(
            iam.PolicyStatement(actions=["batch:SubmitJob"], resources=[*definitions, *queues])
        )
        # Aborting an execution, or its timeout, ends the job it waits for.
        role.add_to_principal_policy(
            iam.PolicyStatement(
                actions=["batch:TerminateJob"], resources=[self._arn("batch", "job", "*")]
            )
        )
        # AWS knows no resource for describing jobs.
        role.add_to_principal_policy(
            iam.PolicyStatement(actions=["batch:DescribeJobs"], resources=["*"])
        )
        # The rule through which Step Functions hears of a job's end; it keeps
        # one per account under this name.
        role.add_to_principal_policy(
            iam.PolicyStatement(
                actions=["events:PutTargets", "events:PutRule", "events:DescribeRule"],
                resources=[self._arn("events", "rule", "StepFunctionsGetEventsForBatchJobsRule")],
            )
        )

    def _arn(self, service: str, resource: str, name: str) -> str:
        return self.format_arn(service=service, resource=resource, resource_name=name)

    def _name_outputs(self) -> None:
        storage = self._storage
        for name, value in {
            "RestApiId": self._rest_api.api.rest_api_id,
            "RestUrl": self._rest_api.api.url,
            "RestFunction": self._rest.function_name,
            "WebSocketApiId": self._live.api.api_id,
            "WebSocketUrl": self._live.stage.url,
            "Table": storage.table.table_name,
            "UploadsBucket": storage.uploads.bucket_name,
            "WorkBucket": storage.work.bucket_name,
            "TracksBucket": storage.tracks.bucket_name,
            "DropBucket": storage.drop.bucket_name,
            "SeparateStateMachineArn": self._arn_of(SEPARATE),
            "DenoiseStateMachineArn": self._arn_of(DENOISE),
        }.items():
            cdk.CfnOutput(self, name, value=value)
