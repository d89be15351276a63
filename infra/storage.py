"""What clearstem keeps: four buckets, who asked for what in them, and one table.

Every rule about how long a thing lives, who may reach it and how it is
encrypted stands here; who may read or write which is the composing stack's.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import aws_cdk as cdk
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from constructs import Construct

from clearstem.drops import DONE_PREFIX, DROP_PREFIX
from infra.lifetimes import REGRET_DAYS, TRACK_DAYS, UPLOAD_DAYS, WORK_DAYS

# An upload that has not ended in a day never will, yet its parts are paid for.
_ABORT_DAYS: Final = 1
_PREFLIGHT_S: Final = 3600
_ACCESS_LOG_DAYS: Final = 90

# The table's indexes: what each is partitioned and sorted by.
INDEXES: Final[Mapping[str, tuple[str, str]]] = {
    "by_owner": ("owner", "owner_sort"),
    # Sparse: only an unfinished job carries `open`, so a sweep reads those alone.
    "by_open": ("open", "updated_at"),
    "by_connection": ("connection_id", "pk"),
}

# What all buckets have in common.
CLOSED: Final[Mapping[str, Any]] = {
    "block_public_access": s3.BlockPublicAccess.BLOCK_ALL,
    "object_ownership": s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
    "enforce_ssl": True,
    "minimum_tls_version": 1.2,
    "removal_policy": cdk.RemovalPolicy.RETAIN,
}


class Storage(Construct):
    """The buckets and the table of one deployment.

    Attributes
    ----------
    uploads : aws_s3.Bucket
        Recordings as they came in.
    work : aws_s3.Bucket
        Artifacts and manifests between stages.
    tracks : aws_s3.Bucket
        Finished tracks.
    drop : aws_s3.Bucket
        The way in by file: ``drop/OWNER/…`` becomes a job, results lie under ``done/``.
    access_log : aws_s3.Bucket
        Who asked the other buckets for what.
    table : aws_dynamodb.Table
        Jobs, connections and accounts.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        cors_origins: Sequence[str],
        key: kms.IKey | None,
        deletion_protection: bool,
    ) -> None:
        super().__init__(scope, id)
        self._key = key
        # S3 delivers access logs to buckets of its own encryption only.
        self.access_log = s3.Bucket(
            self,
            "AccessLog",
            **CLOSED,
            encryption=s3.BucketEncryption.S3_MANAGED,
            lifecycle_rules=[_expiry(days=_ACCESS_LOG_DAYS)],
        )
        readable = _cors([s3.HttpMethods.GET, s3.HttpMethods.HEAD], origins=cors_origins)
        self.uploads = self._bucket(
            "Uploads",
            versioned=True,
            rules=[_expiry(days=UPLOAD_DAYS, versioned=True)],
            cors=_cors([s3.HttpMethods.PUT, s3.HttpMethods.POST], origins=cors_origins),
        )
        self.work = self._bucket("Work", rules=[_expiry(days=WORK_DAYS)])
        self.tracks = self._bucket(
            "Tracks",
            versioned=True,
            rules=[_expiry(days=TRACK_DAYS, versioned=True)],
            cors=readable,
        )
        self.drop = self._bucket(
            "Drop",
            rules=[
                _expiry(days=UPLOAD_DAYS, prefix=DROP_PREFIX),
                _expiry(days=TRACK_DAYS, prefix=DONE_PREFIX),
            ],
            cors=readable,
        )
        self.table = self._table(deletion_protection=deletion_protection)

    def _bucket(
        self,
        name: str,
        *,
        rules: Sequence[s3.LifecycleRule],
        cors: Sequence[s3.CorsRule] | None = None,
        versioned: bool = False,
    ) -> s3.Bucket:
        managed = s3.BucketEncryption.S3_MANAGED
        return s3.Bucket(
            self,
            name,
            **CLOSED,
            encryption=managed if self._key is None else s3.BucketEncryption.KMS,
            encryption_key=self._key,
            # One data key for many objects: KMS is asked a hundred times less.
            bucket_key_enabled=None if self._key is None else True,
            versioned=versioned or None,
            server_access_logs_bucket=self.access_log,
            server_access_logs_prefix=f"{name.lower()}/",
            lifecycle_rules=rules,
            cors=cors,
        )

    def _table(self, *, deletion_protection: bool) -> dynamodb.Table:
        encryption = dynamodb.TableEncryption
        table = dynamodb.Table(
            self,
            "Table",
            partition_key=_key("pk"),
            sort_key=_key("sk"),
            billing_mode=dynamodb.BillingMode.PAY_PER_REQUEST,
            stream=dynamodb.StreamViewType.NEW_AND_OLD_IMAGES,
            time_to_live_attribute="ttl",
            encryption=encryption.DEFAULT if self._key is None else encryption.CUSTOMER_MANAGED,
            encryption_key=self._key,
            deletion_protection=deletion_protection,
            point_in_time_recovery_specification=dynamodb.PointInTimeRecoverySpecification(
                point_in_time_recovery_enabled=True
            ),
            removal_policy=cdk.RemovalPolicy.RETAIN,
        )
        for name, (partition, sort) in INDEXES.items():
            table.add_global_secondary_index(
                index_name=name,
                partition_key=_key(partition),
                sort_key=_key(sort),
                # Keys alone: whatever else an index projects is paid for at
                # every progress write.
                projection_type=dynamodb.ProjectionType.KEYS_ONLY,
            )
        return table


def _key(name: str) -> dynamodb.Attribute:
    return dynamodb.Attribute(name=name, type=dynamodb.AttributeType.STRING)


def _expiry(*, days: int, prefix: str | None = None, versioned: bool = False) -> s3.LifecycleRule:
    return s3.LifecycleRule(
        prefix=prefix,
        expiration=cdk.Duration.days(days),
        noncurrent_version_expiration=cdk.Duration.days(REGRET_DAYS) if versioned else None,
        abort_incomplete_multipart_upload_after=cdk.Duration.days(_ABORT_DAYS),
    )


def _cors(methods: Sequence[s3.HttpMethods], *, origins: Sequence[str]) -> list[s3.CorsRule]:
    """Lets pages use presigned URLs, which carry their own authority."""
    return [
        s3.CorsRule(
            allowed_methods=methods,
            allowed_origins=list(origins),
            allowed_headers=["*"],
            exposed_headers=["ETag", "Content-Length", "Content-Disposition"],
            max_age=_PREFLIGHT_S,
        )
    ]
