"""The zip of the functions, made without Docker.

pip is asked for the locked wheels of the functions' machine and may build
nothing, so the same zip comes out on any machine. Its hash is taken of what
goes in (our source and the lock), which is known before anything is installed:
CDK bundles only what it has not bundled before.
"""

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import aws_cdk as cdk
import jsii
from aws_cdk import aws_lambda as lambda_

from infra import wheels
from infra.supply_chain import ROOT

# What of ours lies at the root of the zip.
PACKAGES: Final = ("clearstem", "functions")

_RUNTIME: Final = lambda_.Runtime.PYTHON_3_13
# botocore describes 400 services in 27 MB; these are called. The zip would
# be three times its size with the rest, and a cold start loads all of it.
SERVICES: Final = frozenset(
    {
        "apigatewaymanagementapi",
        "dynamodb",
        "s3",
        "secretsmanager",
        "sqs",
        "stepfunctions",
        "sts",
    }
)
_CACHES: Final = ("__pycache__", "*.pyc")


def functions_code(root: Path = ROOT) -> lambda_.Code:
    """The code that all zip functions share: one asset, however many they are."""
    return lambda_.Code.from_asset(
        str(root),
        asset_hash_type=cdk.AssetHashType.CUSTOM,
        asset_hash=fingerprint(root),
        bundling=cdk.BundlingOptions(
            # Never run: the local bundling below does not decline.
            image=_RUNTIME.bundling_image,
            local=WheelBundling(root),
        ),
    )


@jsii.implements(cdk.ILocalBundling)
class WheelBundling:
    """Fills the zip's folder with wheels and with our two packages.

    Parameters
    ----------
    root : Path
        The repository.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def try_bundle(self, output_dir: str, *_: Any, **__: Any) -> bool:
        """Fill ``output_dir``; never declines, a failing pip raises `CalledProcessError`."""
        target = Path(output_dir)
        wheels.install(target, root=self._root)
        _keep_services(target / "botocore" / "data")
        copy_packages(target, root=self._root)
        return True


def _keep_services(descriptions: Path) -> None:
    for folder in descriptions.iterdir():
        if folder.is_dir() and folder.name not in SERVICES:
            shutil.rmtree(folder)


def copy_packages(target: Path, *, root: Path) -> None:
    """Copy our own packages, without what Python leaves beside them."""
    for package in PACKAGES:
        shutil.copytree(
            root / package,
            target / package,
            ignore=shutil.ignore_patterns(*_CACHES),
            dirs_exist_ok=True,
        )


def fingerprint(root: Path) -> str:
    """A hash that changes exactly when the zip's content would."""
    digest = hashlib.sha256("\n".join(sorted(SERVICES)).encode())
    for path in (root / wheels.LOCK, *_sources(root)):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0")
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _sources(root: Path) -> Iterator[Path]:
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*")):
            if path.is_file() and not any(part == "__pycache__" for part in path.parts):
                yield path
