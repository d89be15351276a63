"""The stack: which parts there are, and who may do what to which.

The grants of functions stand in this file, in `_grant_*`, those of stages and of
what runs them in `infra.stage_grants`, so that a role's powers are read in one
place. The parts know nothing of each other.
"""

from typing import Any, Final

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_stepfunctions as stepfunctions
from constructs import Construct

from clearstem.drops import DONE_PREFIX, DROP_PREFIX
from clearstem.receipts import SHORT_BYTES, SHORT_FRAMES
from clearstem.recipes import DENOISE, RECIPES, SEPARATE, Recipe, work_prefix
from infra import stage_grants
from infra.access_logs import AccessLogs
from infra.bundling import functions_code
from infra.compute import Network, Queues
from infra.definition import QuickWay
from infra.edge import Edge
from infra.functions import DeadLetters, ZipFunction
from infra.intake import BadEndings, Sweep, watch_drop
from infra.live import LiveApi, hear_jobs, push_changes
from infra.observability import Observability, Watched
from infra.options import Encryption, Options
from infra.rest_api import RestApi
from infra.stages import JOB_ID, RecipeMachine, StageTasks
from infra.storage import Storage
from infra.streaming import streaming_function
from infra.webhooks import COURIER_TIMEOUT_S, WebhookQueues

_MAX_UPLOAD_BYTES: Final = 500 * 1024 * 1024
# What the Munsit dialect's documents say.
_VOICE_MAX_UPLOAD_BYTES: Final = 200 * 1024 * 1024
_VOICE_MAX_DURATION_S: Final = 900
# The largest upload at 4.5 Mbit/s; what sends nothing for half a minute is gone.
_URL_TOTAL_S: Final = 900
_URL_IDLE_S: Final = 30

# A page of the console asks for some things at once.
_KEYLESS_BURST_S: Final = 4

# Where the stage images' files put weights.
_BAKED_MODELS: Final = "/opt/models"

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
    """All of clearstem in one account and region.

    Parameters
    ----------
    options : Options
        What the operator decided.
    **stack : Any
        As `aws_cdk.Stack` takes it.
    """

    def __init__(self, scope: Construct, id: str, *, options: Options, **stack: Any) -> None:
        super().__init__(scope, id, **stack)
        self._options = options
        self._declare_parameters()
        self._key = self._own_key() if options.encryption is Encryption.KMS else None
        self._storage = Storage(
            self,
            "Storage",
            cors_origins=options.cors_origins.split(","),
            key=self._key,
            deletion_protection=options.production,
        )
        queues = Queues(
            self,
            "Queues",
            network=Network(self, "Network"),
            gpu=options.gpu,
            warm_gpus=options.warm_gpus,
            idle_minutes=options.gpu_idle_minutes,
        )
        self._tasks = StageTasks(
            self,
            "Stages",
            queues=queues,
            environment=self._stage_environment(),
            build_arguments=options.build_arguments,
        )
        self._machines = self._create_machines()
        logs = AccessLogs(self, "AccessLogs")
        self._live = LiveApi(self, "Live", logs=logs)
        self._webhooks = WebhookQueues(self, "Webhooks", key=self._key)
        self._create_functions()
        self._connect_triggers()
        self._rest_api = RestApi(
            self,
            "Rest",
            function=self._rest,
            streaming=self._stream,
            authorizer=self._authorizer,
            logs=logs,
        )
        self._edge = Edge(
            self,
            "Edge",
            rest=self._rest_api.api,
            live=self._live.stage,
            access_log=self._storage.access_log,
            options=options,
        )
        self._edge.publish(self._publish)
        self._observe()
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
            "ModelsDir", "Folder searched for weights; empty: that of the stage images."
        )
        as_functions = self._parameter(
            "StageFunctions", "Whether short stages run as functions; off: all run in Batch."
        )
        self._functions_off = cdk.CfnCondition(
            self,
            "StageFunctionsOff",
            expression=cdk.Fn.condition_equals(as_functions.value_as_string, "off"),
        )
        self._management_url = self._parameter(
            "WebSocketManagementUrl", "Where pushes are posted; empty: the API's own address."
        )
        self._url_allow_loopback = self._parameter(
            "UrlAllowLoopback", "For tests alone: 1 lets users' URLs be http and lead to the host."
        )
        self._rate_per_s = self._parameter(
            "RatePerS", "Requests per second of an owner in the long run; 0: no limit.", "20"
        )
        self._rate_burst = self._parameter("RateBurst", "Requests of an owner at once.", "200")

    def _parameter(self, name: str, description: str, default: str = "") -> cdk.CfnParameter:
        return cdk.CfnParameter(self, name, type="String", default=default, description=description)

    def _create_machines(self) -> dict[str, stepfunctions.StateMachine]:
        quick = QuickWay(
            function_arn=self._tasks.function.function_arn,
            table_name=self._storage.table.table_name,
            most_bytes=self._unless_off(SHORT_BYTES),
            most_frames=self._unless_off(SHORT_FRAMES),
        )
        return {
            recipe.name: RecipeMachine(
                self,
                recipe.name.title(),
                recipe=recipe,
                tasks=self._tasks,
                quick=quick,
                fused=self._options.fused,
            ).machine
            for recipe in RECIPES.values()
        }

    def _unless_off(self, limit: int) -> str:
        """What a stage's function takes, or nothing where the parameter says so."""
        return cdk.Token.as_string(cdk.Fn.condition_if(self._functions_off.logical_id, 0, limit))

    def _own_key(self) -> kms.Key:
        """One key for all that is stored, so that disabling it closes everything at once."""
        key = kms.Key(
            self,
            "Key",
            description="What clearstem stores.",
            enable_key_rotation=True,
            removal_policy=cdk.RemovalPolicy.RETAIN,
        )
        # Alarms go to the topic, and events nobody handled to the dead letters.
        for service in ("cloudwatch", "events"):
            key.grant_encrypt_decrypt(iam.ServicePrincipal(f"{service}.amazonaws.com"))
        return key

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
            "CLEARSTEM_URL_ALLOW_LOOPBACK": self._url_allow_loopback.value_as_string,
            "CLEARSTEM_URL_TOTAL_S": str(_URL_TOTAL_S),
            "CLEARSTEM_URL_IDLE_S": str(_URL_IDLE_S),
            "POWERTOOLS_SERVICE_NAME": "clearstem-stage",
            "POWERTOOLS_METRICS_NAMESPACE": "clearstem",
            "LOG_LEVEL": "INFO",
        }

    def _stage_environment(self) -> dict[str, str]:
        """What stages are told: their images hold weights, which functions do not see."""
        none = cdk.CfnCondition(
            self,
            "OwnModelsDir",
            expression=cdk.Fn.condition_equals(self._models_dir.value_as_string, ""),
        )
        given = self._models_dir.value_as_string
        folder = cdk.Fn.condition_if(none.logical_id, _BAKED_MODELS, given)
        return {**self._environment(), "CLEARSTEM_MODELS_DIR": cdk.Token.as_string(folder)}

    def _function_environment(self) -> dict[str, str]:
        """What functions are told besides: stages start nothing and push nothing."""
        return {
            **self._environment(),
            "CLEARSTEM_SEPARATE_STATE_MACHINE_ARN": self._arn_of(SEPARATE),
            "CLEARSTEM_DENOISE_STATE_MACHINE_ARN": self._arn_of(DENOISE),
            "CLEARSTEM_WEBSOCKET_URL": self._websocket_url(),
            "CLEARSTEM_KEYLESS_OWNER": self._keyless_owner.value_as_string,
            "CLEARSTEM_RATE_PER_S": self._rate_per_s.value_as_string,
            "CLEARSTEM_RATE_BURST": self._rate_burst.value_as_string,
            "CLEARSTEM_KEYLESS_RATE_PER_S": str(self._options.keyless_calls_per_s),
            "CLEARSTEM_KEYLESS_RATE_BURST": str(
                _KEYLESS_BURST_S * self._options.keyless_calls_per_s
            ),
            "CLEARSTEM_QUOTA_UNFINISHED_JOBS": str(self._options.unfinished_jobs),
            "CLEARSTEM_QUOTA_MINUTES_PER_MONTH": str(self._options.minutes_per_month),
            "CLEARSTEM_QUOTA_STORED_BYTES": str(self._options.stored_gb * 10**9),
            # API Gateway ends a stream after 15 minutes, in the middle of an event or not.
            "CLEARSTEM_EVENT_STREAM_S": "840",
            "CLEARSTEM_CORS_ORIGINS": self._options.cors_origins,
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

        self._push_lost = DeadLetters(self, "PushDeadLetters", key=self._key)
        self._drop_lost = DeadLetters(self, "DropDeadLetters", key=self._key)
        self._settle_lost = DeadLetters(self, "SettleDeadLetters", key=self._key)
        self._changes_lost = DeadLetters(self, "ChangesDeadLetters", key=self._key)
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
        self._stream = streaming_function(self, "StreamHandler", environment=environment)
        # Twenty-five changes of jobs, and some webhooks to tell of each.
        self._changes = function("changes", seconds=60)
        # A receiver has 15 s, and its name half of that to be looked up.
        self._courier = function("webhook", seconds=COURIER_TIMEOUT_S)
        # Some small files, at deployments.
        self._publish = function("publish", seconds=120)

    def _connect_triggers(self) -> None:
        self._live.connect(self._websocket, authorizer=self._authorizer)
        push_changes(self._storage.table, to=self._push, dead_letters=self._push_lost)
        hear_jobs(self._storage.table, by=self._changes, dead_letters=self._changes_lost)
        self._webhooks.attempt_by(self._courier)
        watch_drop(self._storage.drop, function=self._drop)
        BadEndings(
            self,
            "BadEndings",
            machines=list(self._machines.values()),
            function=self._settle,
            dead_letters=self._settle_lost,
        )
        Sweep(self, "Sweeping", function=self._sweep, dead_letters=self._settle_lost)

    def _observe(self) -> None:
        functions = (
            self._rest,
            self._authorizer,
            self._websocket,
            self._push,
            self._drop,
            self._settle,
            self._sweep,
            self._changes,
            self._courier,
        )
        Observability(
            self,
            "Observability",
            watched=Watched(
                functions={function.module: function for function in functions},
                dead_letters={
                    "Push": self._push_lost,
                    "Drop": self._drop_lost,
                    "Settle": self._settle_lost,
                    "Changes": self._changes_lost,
                    "Webhook": self._webhooks.lost,
                },
                table=self._storage.table,
                rest_api_name=self._rest_api.api.rest_api_name,
            ),
            email=self._options.alarm_email,
            key=self._key,
        )

    def _grant_storage(self) -> None:
        storage = self._storage
        self._allow(self._rest, *_CHANGE_JOB, "dynamodb:BatchGetItem", queries="by_owner")
        # It reads and tells; keys it looks up itself, so it notes their use too.
        self._allow(self._stream, *_READ_ITEM, "dynamodb:BatchGetItem", "dynamodb:UpdateItem")
        # It notes when a key was last used, and uses tickets up.
        self._allow(self._authorizer, *_READ_ITEM, "dynamodb:UpdateItem", "dynamodb:DeleteItem")
        for watcher in (self._websocket, self._push):
            self._allow(watcher, *_READ_ITEM, "dynamodb:DeleteItem", queries="by_connection")
        self._allow(self._websocket, "dynamodb:PutItem")
        self._allow(self._sweep, queries="by_open")
        for changer in (self._drop, self._settle, self._sweep):
            self._allow(changer, *_CHANGE_JOB)
        for remover in (self._rest, self._sweep):
            self._grant_removal(remover)

        # A presigned URL can do what its signer may: the REST function signs
        # writes to uploads and reads of results.
        storage.uploads.grant_read(self._rest)
        storage.uploads.grant_put(self._rest)
        # Which parts of an upload have come; CDK counts it to no grant of its own.
        self._rest.add_to_role_policy(
            iam.PolicyStatement(
                actions=["s3:ListMultipartUploadParts"],
                resources=[storage.uploads.arn_for_objects("*")],
            )
        )
        storage.tracks.grant_read(self._rest)
        # A stored result that answers a job is copied there, to the place of that job.
        storage.tracks.grant_put(self._rest, f"{work_prefix(JOB_ID)}*")
        storage.drop.grant_read(self._rest, _DONE)
        storage.tracks.grant_read(self._stream)
        storage.drop.grant_read(self._stream, _DONE)
        storage.drop.grant_read(self._drop, _DROPPED)
        # Why a dropped object became no job is said beside the results.
        storage.drop.grant_put(self._drop, _DONE)

        stage_grants.work(storage, tasks=self._tasks, key=self._key)

        # Push sends snapshots; the socket's own function says what was wrong with a message.
        for sender in (self._push, self._websocket):
            self._live.stage.grant_management_api_access(sender)

    def _grant_webhooks(self) -> None:
        """Who sets deliveries on their way, and who makes their attempts."""
        # An owner's webhooks stand under his name: no index is asked.
        self._allow(self._changes, *_READ_ITEM, "dynamodb:PutItem", "dynamodb:Query")
        # It notes what came of an attempt, and disables what answers 410.
        self._allow(self._courier, *_READ_ITEM, "dynamodb:PutItem", "dynamodb:UpdateItem")
        for sender in (self._changes, self._courier, self._rest, self._sweep):
            self._webhooks.orders.grant_send_messages(sender)
        self._webhooks.given_up.grant_send_messages(self._courier)

    def _grant_removal(self, remover: ZipFunction) -> None:
        """What `clearstem.removal` needs: to find a job's files, and to delete them."""
        storage = self._storage
        self._allow(remover, *_DELETE_LOG)
        buckets = (storage.uploads, storage.work, storage.tracks, storage.drop)
        for bucket in buckets:
            bucket.grant_delete(remover)
        remover.add_to_role_policy(
            iam.PolicyStatement(
                actions=["s3:ListBucket"], resources=[bucket.bucket_arn for bucket in buckets]
            )
        )

    def _allow(self, grantee: iam.IGrantable, *actions: str, queries: str = "") -> None:
        """Grant actions on the table's items, and queries of them and of one index.

        `Table.grant` would grant every action on every index too.
        """
        table = self._storage.table
        if actions:
            iam.Grant.add_to_principal(
                grantee=grantee, actions=list(actions), resource_arns=[table.table_arn]
            )
        if queries:
            iam.Grant.add_to_principal(
                grantee=grantee,
                actions=["dynamodb:Query"],
                resource_arns=[table.table_arn, f"{table.table_arn}/index/{queries}"],
            )
        if self._key is not None:
            self._key.grant_encrypt_decrypt(grantee)

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
        for recipe in RECIPES.values():
            machine = self._machines[recipe.name]
            stage_grants.submit(self, machine, recipe=recipe, tasks=self._tasks)
            # How much there is to do decides between Batch and the function.
            self._allow(machine, *_READ_ITEM)

    def _name_outputs(self) -> None:
        storage = self._storage
        for name, value in {
            "Url": f"https://{self._edge.distribution.distribution_domain_name}",
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
