"""What clearstem keeps: four buckets and one table.

Every rule about how long a thing lives, who may reach it and how it is
encrypted stands here; who may read or write which is the composing stack's.
"""

from collections.abc import Sequence
from typing import Final

import aws_cdk as cdk
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_s3 as s3
from constructs import Construct

from clearstem.intake import DONE_PREFIX, DROP_PREFIX

# Uploads outlive a weekend's outage of the stages, artifacts a redrive of the
# day after, tracks the month in which somebody comes back for them.
_UPLOAD_DAYS: Final = 7
_WORK_DAYS: Final = 2
_TRACK_DAYS: Final = 30
# An upload that has not ended in a day never will, yet its parts are paid for.
_ABORT_DAYS: Final = 1
_PREFLIGHT_S: Final = 3600


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
    table : aws_dynamodb.Table
        Jobs, connections and accounts.
    """

    def __init__(self, scope: Construct, id: str, *, cors_origins: Sequence[str]) -> None:
        super().__init__(scope, id)
        self.uploads = self._bucket(
            "Uploads",
            rules=[_expiry(days=_UPLOAD_DAYS)],
            cors=_cors([s3.HttpMethods.PUT, s3.HttpMethods.POST], origins=cors_origins),
        )
        self.work = self._bucket("Work", rules=[_expiry(days=_WORK_DAYS)])
        self.tracks = self._bucket(
            "Tracks",
            rules=[_expiry(days=_TRACK_DAYS)],
            cors=_cors([s3.HttpMethods.GET, s3.HttpMethods.HEAD], origins=cors_origins),
        )
        self.drop = self._bucket(
            "Drop",
            rules=[
                _expiry(days=_UPLOAD_DAYS, prefix=DROP_PREFIX),
                _expiry(days=_TRACK_DAYS, prefix=DONE_PREFIX),
            ],
        )
        self.table = self._table()

    def _bucket(
        self,
        name: str,
        *,
        rules: Sequence[s3.LifecycleRule],
        cors: Sequence[s3.CorsRule] | None = None,
    ) -> s3.Bucket:
        return s3.Bucket(
            self,
            name,
            block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
            object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
            encryption=s3.BucketEncryption.S3_MANAGED,
            enforce_ssl=True,
            lifecycle_rules=rules,
            cors=cors,
            removal_policy=cdk.RemovalPolicy.RETAIN,
        )

    def _table(self) -> dynamodb.Table:
        table = dynamodb.Table(
            self,
            "Table",
            partition_key=_key("pk"),
            sort_key=_key("sk"),
            billing_mode=dynamodb.BillingMode.PAY_PER_REQUEST,
            stream=dynamodb.StreamViewType.NEW_AND_OLD_IMAGES,
            time_to_live_attribute="ttl",
            point_in_time_recovery_specification=dynamodb.PointInTimeRecoverySpecification(
                point_in_time_recovery_enabled=True
            ),
            removal_policy=cdk.RemovalPolicy.RETAIN,
        )
        for name, partition, sort in (
            ("by_owner", "owner", "owner_sort"),
            # Sparse: only an unfinished job carries `open`, so a sweep reads those alone.
            ("by_open", "open", "updated_at"),
            ("by_connection", "connection_id", "pk"),
        ):
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


def _expiry(*, days: int, prefix: str | None = None) -> s3.LifecycleRule:
    return s3.LifecycleRule(
        prefix=prefix,
        expiration=cdk.Duration.days(days),
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
