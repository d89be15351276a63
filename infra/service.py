"""The stack: which parts there are, and which is joined to which.

The parts know nothing of each other. Who may do what to which is told in
`infra.table_grants`, `infra.function_grants` and `infra.stage_grants`, so that a role's powers are
read in one place.
"""

from typing import Any

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_stepfunctions as stepfunctions
from constructs import Construct

from clearstem.receipts import SHORT_BYTES, SHORT_FRAMES
from clearstem.recipes import DENOISE, RECIPES, SEPARATE, Recipe
from infra import function_grants, stage_grants, table_grants
from infra.access_logs import AccessLogs
from infra.compute import Network, Queues
from infra.definition import QuickWay
from infra.edge import Edge, edge_proof
from infra.environment import Environment
from infra.handlers import Handlers
from infra.intake import BadEndings, Sweep, watch_drop
from infra.live import LiveApi, hear_jobs, push_changes
from infra.observability import Observability, Watched
from infra.options import Encryption, Options
from infra.parameters import Parameters
from infra.rest_api import RestApi
from infra.stages import RecipeMachine, StageTasks
from infra.storage import INDEXES, Storage
from infra.webhooks import WebhookQueues


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
        self._parameters = Parameters(self)
        self._key = self._own_key() if options.encryption is Encryption.KMS else None
        self._storage = Storage(
            self,
            "Storage",
            cors_origins=options.storage_origins,
            key=self._key,
            deletion_protection=options.production,
        )
        self._proof = (
            edge_proof(self, "EdgeProof", key=self._key) if options.edge_is_believed else None
        )
        environment = Environment(
            storage=self._storage,
            parameters=self._parameters,
            options=options,
            proof_arn=self._proof.secret_arn if self._proof else "",
        )
        self._tasks = StageTasks(
            self,
            "Stages",
            queues=self._create_queues(),
            environment=environment.of_stages(),
            gpu_environment=environment.of_gpu_stages(),
            build_arguments=options.build_arguments,
            concurrency=options.stage_concurrency,
        )
        self._machines = self._create_machines()
        logs = AccessLogs(self, "AccessLogs")
        self._live = LiveApi(self, "Live", logs=logs)
        self._webhooks = WebhookQueues(self, "Webhooks", key=self._key)
        told = environment.of_functions(
            machine_arns={recipe.name: self._arn_of(recipe) for recipe in RECIPES.values()},
            push_url=self._live.stage.callback_url,
            webhooks=self._webhooks,
        )
        self._handlers = Handlers(
            self,
            environment=told,
            stream_build=options.stream_build_arguments,
            stream_concurrency=options.stream_concurrency,
            key=self._key,
        )
        self._connect_triggers()
        self._open_to_callers(logs)
        self._observe()
        self._grant()
        self._name_outputs()

    def _create_queues(self) -> Queues:
        return Queues(
            self,
            "Queues",
            network=Network(self, "Network"),
            options=self._options,
        )

    def _create_machines(self) -> dict[str, stepfunctions.StateMachine]:
        quick = QuickWay(
            function_arn=self._tasks.function.function_arn,
            table_name=self._storage.table.table_name,
            most_bytes=self._parameters.unless_functions_off(SHORT_BYTES),
            most_frames=self._parameters.unless_functions_off(SHORT_FRAMES),
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

    def _arn_of(self, recipe: Recipe) -> str:
        return self._machines[recipe.name].state_machine_arn

    def _connect_triggers(self) -> None:
        handlers, table = self._handlers, self._storage.table
        self._live.connect(handlers.websocket, authorizer=handlers.authorizer)
        push_changes(table, to=handlers.push, dead_letters=handlers.push_lost)
        hear_jobs(table, by=handlers.changes, dead_letters=handlers.changes_lost)
        self._webhooks.attempt_by(handlers.courier)
        watch_drop(self._storage.drop, function=handlers.drop)
        BadEndings(
            self,
            "BadEndings",
            machines=list(self._machines.values()),
            function=handlers.settle,
            dead_letters=handlers.settle_lost,
        )
        Sweep(self, "Sweeping", function=handlers.sweep, dead_letters=handlers.sweep_lost)

    def _open_to_callers(self, logs: AccessLogs) -> None:
        """The REST API, and the one address in front of everything."""
        self._rest_api = RestApi(
            self,
            "Rest",
            function=self._handlers.rest,
            streaming=self._handlers.stream,
            authorizer=self._handlers.authorizer,
            logs=logs,
            origins=self._options.callers_origins,
        )
        self._edge = Edge(
            self,
            "Edge",
            rest=self._rest_api.api,
            live=self._live.stage,
            storage=self._storage,
            proof=self._proof,
            options=self._options,
        )
        self._edge.publish(self._handlers.publish)

    def _observe(self) -> None:
        handlers = self._handlers
        Observability(
            self,
            "Observability",
            watched=Watched(
                functions={**handlers.watched, "stages": self._tasks.function},
                dead_letters={
                    "Push": handlers.push_lost,
                    "Drop": handlers.drop_lost,
                    "Settle": handlers.settle_lost,
                    "Sweep": handlers.sweep_lost,
                    "Changes": handlers.changes_lost,
                    "Webhook": self._webhooks.lost,
                },
                table=self._storage.table,
                indexes=tuple(INDEXES),
                rest_api_name=self._rest_api.api.rest_api_name,
                sockets=self._live.stage,
            ),
            email=self._options.alarm_email,
            key=self._key,
        )

    def _grant(self) -> None:
        handlers, storage = self._handlers, self._storage
        table = table_grants.TableGrants(storage, self._key)
        table_grants.use_table(table, handlers=handlers)
        for remover in (handlers.rest, handlers.sweep):
            table_grants.delete_logs(table, by=remover)
            function_grants.remove_files(storage, by=remover)
        function_grants.use_files(storage, handlers=handlers)
        stage_grants.work(storage, tasks=self._tasks, key=self._key)
        function_grants.speak_to_sockets(self._live.stage, handlers=handlers)
        function_grants.deliver(self._webhooks, handlers=handlers)
        function_grants.run_jobs(self._machines, handlers=handlers)
        if self._proof is not None:
            function_grants.believe_edge(self._proof, handlers=handlers)
        for recipe in RECIPES.values():
            machine = self._machines[recipe.name]
            stage_grants.submit(self, machine, recipe=recipe, tasks=self._tasks)
            # How much there is to do decides between Batch and the function.
            table_grants.read_record(table, by=machine)

    def _name_outputs(self) -> None:
        storage = self._storage
        for name, value in {
            "Url": f"https://{self._edge.distribution.distribution_domain_name}",
            "RestApiId": self._rest_api.api.rest_api_id,
            "RestUrl": self._rest_api.api.url,
            "RestFunction": self._handlers.rest.function_name,
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
