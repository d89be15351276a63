"""What the template promises of buckets, the table and the queues."""

import pytest

from tests.infra.reading import of_type, only


def test_no_bucket_is_public_unencrypted_or_reachable_without_tls(template):
    buckets = of_type(template, "AWS::S3::Bucket")
    assert len(buckets) == 6
    for bucket in buckets.values():
        assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
        rule = only(
            dict(enumerate(bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]))
        )
        assert rule["ServerSideEncryptionByDefault"] == {"SSEAlgorithm": "AES256"}
    tls_only = {
        policy["Bucket"]["Ref"]
        for policy in of_type(template, "AWS::S3::BucketPolicy").values()
        if _refuses_plain_http(policy)
    }
    assert tls_only == set(buckets)


def _refuses_plain_http(policy):
    return any(
        statement["Effect"] == "Deny"
        and statement["Action"] in ("s3:*", "sqs:*")
        and statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
        for statement in policy["PolicyDocument"]["Statement"]
    )


@pytest.mark.parametrize(
    ("bucket", "days"), [("Uploads", {None: 7}), ("Work", {None: 2}), ("Tracks", {None: 30})]
)
def test_objects_live_as_long_as_they_are_of_use(template, bucket, days):
    rules = _lifecycle(template, bucket)
    assert {rule.get("Prefix"): rule["ExpirationInDays"] for rule in rules} == days


def test_dropped_files_and_their_results_end_apart(template):
    rules = _lifecycle(template, "Drop")
    ends = {rule["Prefix"]: rule["ExpirationInDays"] for rule in rules}
    assert ends == {"drop/": 7, "done/": 30}


@pytest.mark.parametrize("bucket", ["Uploads", "Work", "Tracks", "Drop"])
def test_parts_of_an_unfinished_upload_are_dropped_after_a_day(template, bucket):
    for rule in _lifecycle(template, bucket):
        assert rule["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 1}


def _lifecycle(template, bucket):
    buckets = of_type(template, "AWS::S3::Bucket")
    found = {name: value for name, value in buckets.items() if name.startswith(f"Storage{bucket}")}
    return only(found)["LifecycleConfiguration"]["Rules"]


def test_what_was_deleted_or_replaced_can_be_had_back_for_a_week(template):
    versioned = {
        name.removeprefix("Storage")[:-8]: bucket["LifecycleConfiguration"]["Rules"]
        for name, bucket in of_type(template, "AWS::S3::Bucket").items()
        if bucket.get("VersioningConfiguration") == {"Status": "Enabled"}
    }
    assert set(versioned) == {"Uploads", "Tracks"}
    for (rule,) in versioned.values():
        assert rule["NoncurrentVersionExpiration"] == {"NoncurrentDays": 7}


def test_every_bucket_logs_who_asked_and_the_log_itself_ends(template):
    buckets = of_type(template, "AWS::S3::Bucket")
    log = next(name for name in buckets if name.startswith("StorageAccessLog"))
    for name, bucket in buckets.items():
        if name != log:
            assert bucket["LoggingConfiguration"]["DestinationBucketName"] == {"Ref": log}
    assert _lifecycle(template, "AccessLog")[0]["ExpirationInDays"] == 90


def test_browsers_may_send_to_uploads_and_read_where_results_lie_only(template):
    allowed = {
        name.removeprefix("Storage")[:-8]: bucket["CorsConfiguration"]["CorsRules"][0]
        for name, bucket in of_type(template, "AWS::S3::Bucket").items()
        if "CorsConfiguration" in bucket
    }
    assert {name: rule["AllowedMethods"] for name, rule in allowed.items()} == {
        "Uploads": ["PUT", "POST"],
        "Tracks": ["GET", "HEAD"],
        # The results of dropped files stay beside them.
        "Drop": ["GET", "HEAD"],
    }


def test_the_table_is_what_the_core_expects(template):
    table = only(of_type(template, "AWS::DynamoDB::Table"))
    assert table["KeySchema"] == _keys("pk", "sk")
    assert table["StreamSpecification"] == {"StreamViewType": "NEW_AND_OLD_IMAGES"}
    assert table["TimeToLiveSpecification"] == {"AttributeName": "ttl", "Enabled": True}
    assert table["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"] is True
    assert {
        index["IndexName"]: index["KeySchema"] for index in table["GlobalSecondaryIndexes"]
    } == {
        "by_owner": _keys("owner", "owner_sort"),
        "by_open": _keys("open", "updated_at"),
        "by_connection": _keys("connection_id", "pk"),
    }
    assert {index["Projection"]["ProjectionType"] for index in table["GlobalSecondaryIndexes"]} == {
        "KEYS_ONLY"
    }


def test_the_table_is_not_deleted_by_mistake(template):
    assert only(of_type(template, "AWS::DynamoDB::Table"))["DeletionProtectionEnabled"] is True


def _keys(partition, sort):
    return [
        {"AttributeName": partition, "KeyType": "HASH"},
        {"AttributeName": sort, "KeyType": "RANGE"},
    ]


def test_deleting_the_stack_deletes_nobodys_recordings(template):
    kept = {
        resource["Type"]
        for resource in template["Resources"].values()
        if resource["Type"] in ("AWS::S3::Bucket", "AWS::DynamoDB::Table")
        and resource["DeletionPolicy"] == resource["UpdateReplacePolicy"] == "Retain"
    }
    assert kept == {"AWS::S3::Bucket", "AWS::DynamoDB::Table"}
    assert not of_type(template, "Custom::S3AutoDeleteObjects")


def test_queues_are_encrypted_kept_for_long_and_sent_by_tls_only(template):
    queues = of_type(template, "AWS::SQS::Queue")
    assert len(queues) == 8
    for queue in queues.values():
        assert queue["SqsManagedSseEnabled"] is True
        assert queue["MessageRetentionPeriod"] == 14 * 24 * 3600
    tls_only = {
        policy["Queues"][0]["Ref"]
        for policy in of_type(template, "AWS::SQS::QueuePolicy").values()
        if _refuses_plain_http(policy)
    }
    assert tls_only == set(queues)
