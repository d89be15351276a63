"""Calls of AWS that roles are tried with: a service, an operation, and its arguments."""

from typing import Any


def read(bucket: str, key: str = "a/b") -> tuple[str, str, dict[str, Any]]:
    return ("s3", "get_object", {"Bucket": bucket, "Key": key})


def write(bucket: str, key: str = "a/b") -> tuple[str, str, dict[str, Any]]:
    return ("s3", "put_object", {"Bucket": bucket, "Key": key, "Body": b""})


def key(partition: str) -> dict[str, Any]:
    return {"pk": {"S": partition}, "sk": {"S": partition.partition("#")[0]}}


JOB, API_KEY, SECRET, TICKET = "JOB#x", "KEY#" + "0" * 64, "HOOKS#alice", "ENTRY#0"


def put(partition: str = JOB) -> tuple[str, str, dict[str, Any]]:
    return ("dynamodb", "put_item", {"TableName": "Table", "Item": key(partition)})


def get(partition: str = JOB) -> tuple[str, str, dict[str, Any]]:
    return ("dynamodb", "get_item", {"TableName": "Table", "Key": key(partition)})


def update(partition: str = JOB) -> tuple[str, str, dict[str, Any]]:
    change = {"UpdateExpression": "SET x = :x", "ExpressionAttributeValues": {":x": {"S": "y"}}}
    return ("dynamodb", "update_item", {"TableName": "Table", "Key": key(partition), **change})


def forget_item(partition: str = JOB) -> tuple[str, str, dict[str, Any]]:
    return ("dynamodb", "delete_item", {"TableName": "Table", "Key": key(partition)})


def query(partition: str) -> tuple[str, str, dict[str, Any]]:
    value = {":pk": {"S": partition}}
    asked = {"KeyConditionExpression": "pk = :pk", "ExpressionAttributeValues": value}
    return ("dynamodb", "query", {"TableName": "Table", **asked})


SCAN = ("dynamodb", "scan", {"TableName": "Table"})
FORGET = ("s3", "delete_object", {"Bucket": "TracksBucket", "Key": "a/b"})


def send(queue: str) -> tuple[str, str, dict[str, Any]]:
    return ("sqs", "send_message", {"QueueUrl": queue, "MessageBody": "x"})


def start(machine: str) -> tuple[str, str, dict[str, Any]]:
    return ("stepfunctions", "start_execution", {"stateMachineArn": f"{machine}StateMachineArn"})
