"""Deploy a synthesized template to the emulator, as the CDK command line does to AWS.

Nothing here needs Node or the CDK: the template and the list of what goes into its code zips are
committed (``infra/snapshot``). Deploying what is already deployed changes nothing.
"""

import hashlib
import io
import json
import time
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from infra.local.emulator import ACCOUNT, REGION

REPOSITORY = Path(__file__).resolve().parents[2]
SNAPSHOT = REPOSITORY / "infra" / "snapshot"
STACK_NAME = "clearstem"
_BOOTSTRAP_PARAMETER = "/cdk-bootstrap/hnb659fds/version"  # CDK's default qualifier
_BOOTSTRAP_VERSION = "30"
_INLINE_LIMIT_BYTES = 51_200  # CloudFormation's quota for TemplateBody
_POLL_S, _PATIENCE_S = 0.05, 120.0
_DEAD_END = frozenset({"ROLLBACK_COMPLETE", "CREATE_FAILED", "ROLLBACK_FAILED", "DELETE_FAILED"})
_ZIP_TIME = (1980, 1, 1, 0, 0, 0)  # one content, one digest
_LEFT_OUT = frozenset({"__pycache__", ".DS_Store"})

Template = dict[str, Any]


class DeploymentError(RuntimeError):
    """A stack could not be created or updated.

    Attributes
    ----------
    reasons
        Each failed resource with CloudFormation's reason, the first failure first.
    """

    def __init__(self, stack_name: str, status: str, reasons: Sequence[str]) -> None:
        self.reasons = tuple(reasons)
        super().__init__("\n  ".join([f"stack {stack_name} is {status}", *reasons]))


@dataclass(frozen=True, slots=True)
class Target:
    """The account of an emulator to deploy to."""

    endpoint: str
    account: str = ACCOUNT
    region: str = REGION

    def client(self, service: str) -> Any:
        """A boto3 client of the account."""
        make: Any = boto3.client  # its stubs only take the names of services as literals
        return make(
            service,
            endpoint_url=self.endpoint,
            region_name=self.region,
            aws_access_key_id=self.account,
            aws_secret_access_key="local",  # noqa: S106 - the emulator looks at the account only
            config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
        )

    @property
    def asset_bucket(self) -> str:
        """The bucket that CDK's bootstrap makes for assets."""
        return f"cdk-hnb659fds-assets-{self.account}-{self.region}"


def read_snapshot(folder: Path = SNAPSHOT) -> tuple[Template, dict[str, list[str]]]:
    """The committed template and, by asset name, the repository paths of each code zip."""
    template = json.loads((folder / "clearstem.template.json").read_text(encoding="utf-8"))
    assets = json.loads((folder / "assets.json").read_text(encoding="utf-8"))
    return template, assets


def deploy(
    template: Template,
    *,
    assets: Mapping[str, Sequence[str]],
    parameters: Mapping[str, str],
    target: Target,
    stack_name: str = STACK_NAME,
    root: Path = REPOSITORY,
) -> dict[str, str]:
    """Create the stack or bring it up to date; its outputs by key.

    Parameters
    ----------
    template
        A CloudFormation template; not changed.
    assets
        For each code zip, named ``<name>.zip`` in the template, the files and folders of `root`
        that it holds at their paths.
    parameters
        Those of the template's parameters that do not take their default.

    Raises
    ------
    DeploymentError
        With the reasons of the resources that failed.
    """
    zips = {name: zip_of(paths, root=root) for name, paths in assets.items()}
    keys = {f"{name}.zip": f"{name}-{_digest(body)}.zip" for name, body in zips.items()}
    body = json.dumps(_with_keys(template, keys), separators=(",", ":")).encode()
    _bootstrap(target)
    uploads = {keys[f"{name}.zip"]: content for name, content in zips.items()}
    request = {
        "StackName": stack_name,
        "Parameters": [
            {"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()
        ],
        "Capabilities": ["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND"],
    }
    if len(body) <= _INLINE_LIMIT_BYTES:
        request["TemplateBody"] = body.decode()
    else:
        key = f"{stack_name}-{_digest(body)}.template.json"
        uploads[key] = body
        request["TemplateURL"] = f"{target.endpoint}/{target.asset_bucket}/{key}"
    _upload(target, uploads)
    return _apply(target.client("cloudformation"), request)


def stack_outputs(target: Target, *, stack_name: str = STACK_NAME) -> dict[str, str]:
    """The outputs of a stack that is deployed; none where it is not."""
    cloudformation = target.client("cloudformation")
    if _status(cloudformation, stack_name) is None:
        return {}
    return _outputs(cloudformation, stack_name)


def zip_of(paths: Iterable[str], *, root: Path) -> bytes:
    """A zip of files and folders of `root`; the same content gives the same bytes."""
    files = sorted(
        file
        for path in paths
        for file in ([root / path] if (root / path).is_file() else (root / path).rglob("*"))
        if file.is_file() and not _LEFT_OUT.intersection(file.parts)
    )
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for file in files:
            entry = zipfile.ZipInfo(file.relative_to(root).as_posix(), _ZIP_TIME)
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, file.read_bytes(), zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def _digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()[:16]


def _with_keys(template: Any, keys: Mapping[str, str]) -> Any:
    """The template with each code zip under a key that changes with its content.

    CloudFormation updates a function when its S3Key differs, and never looks into the zip.
    """
    if isinstance(template, dict):
        return {key: _with_keys(value, keys) for key, value in template.items()}
    if isinstance(template, list):
        return [_with_keys(value, keys) for value in template]
    return keys.get(template, template) if isinstance(template, str) else template


def _bootstrap(target: Target) -> None:
    """What ``cdk bootstrap`` leaves in an account, as far as a deployment looks at it."""
    ssm, s3 = target.client("ssm"), target.client("s3")
    ssm.put_parameter(
        Name=_BOOTSTRAP_PARAMETER, Value=_BOOTSTRAP_VERSION, Type="String", Overwrite=True
    )
    if not _exists(s3.head_bucket, Bucket=target.asset_bucket):
        s3.create_bucket(Bucket=target.asset_bucket)


def _upload(target: Target, objects: Mapping[str, bytes]) -> None:
    s3, bucket = target.client("s3"), target.asset_bucket
    for key, body in objects.items():
        if not _exists(s3.head_object, Bucket=bucket, Key=key):
            s3.put_object(Bucket=bucket, Key=key, Body=body)


def _exists(head: Any, **address: str) -> bool:
    try:
        head(**address)
    except ClientError as exc:
        if exc.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
            return False
        raise
    return True


def _apply(cloudformation: Any, request: dict[str, Any]) -> dict[str, str]:
    name = request["StackName"]
    status = _status(cloudformation, name)
    if status in _DEAD_END:  # such a stack can only be deleted: CloudFormation user guide
        cloudformation.delete_stack(StackName=name)
        status = _settle(cloudformation, name)
    try:
        if status is None:
            cloudformation.create_stack(**request)
        elif not _update(cloudformation, request):
            return _outputs(cloudformation, name)
    except ClientError as exc:
        raise DeploymentError(name, "refused", [exc.response["Error"]["Message"]]) from exc
    status = _settle(cloudformation, name)
    if status not in ("CREATE_COMPLETE", "UPDATE_COMPLETE"):
        raise DeploymentError(name, str(status), _reasons(cloudformation, name))
    return _outputs(cloudformation, name)


def _update(cloudformation: Any, request: dict[str, Any]) -> bool:
    """Start an update; false when there is nothing to update."""
    try:
        cloudformation.update_stack(**request)
    except ClientError as exc:
        # CloudFormation has no code of its own for it: only these words tell it from a mistake.
        if "No updates are to be performed" in exc.response["Error"]["Message"]:
            return False
        raise
    return True


def _settle(cloudformation: Any, name: str) -> str | None:
    """The status once no operation is in progress; None when the stack is gone."""
    deadline = time.monotonic() + _PATIENCE_S
    while (status := _status(cloudformation, name)) and status.endswith("_IN_PROGRESS"):
        if time.monotonic() > deadline:
            raise DeploymentError(name, status, [f"not finished after {_PATIENCE_S:.0f} s"])
        time.sleep(_POLL_S)
    return status


def _status(cloudformation: Any, name: str) -> str | None:
    try:
        status: str = cloudformation.describe_stacks(StackName=name)["Stacks"][0]["StackStatus"]
    except ClientError as exc:
        if exc.response["Error"]["Code"] == "ValidationError":  # "does not exist"
            return None
        raise
    return None if status == "DELETE_COMPLETE" else status


def _outputs(cloudformation: Any, name: str) -> dict[str, str]:
    stack = cloudformation.describe_stacks(StackName=name)["Stacks"][0]
    return {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", ())}


def _reasons(cloudformation: Any, name: str) -> list[str]:
    pages = cloudformation.get_paginator("describe_stack_events").paginate(StackName=name)
    failed = [
        f"{event['LogicalResourceId']} ({event['ResourceType']}): {event['ResourceStatusReason']}"
        for page in pages
        for event in page["StackEvents"]
        if event["ResourceStatus"].endswith("_FAILED") and event.get("ResourceStatusReason")
    ]
    return failed[::-1]
