"""What an operator may decide about a deployment, by CDK context.

``cdk deploy -c gpu=none -c alarm_email=ops@example.com``; every option has a
default, and the committed snapshot is the template of the defaults. A value
that is none is refused here, before anything is synthesized of it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any, Final

_BY_DIGEST: Final = re.compile(r"@sha256:[0-9a-f]{64}$")


class Gpu(StrEnum):
    """Where separation runs: on GPU machines, or on the CPU queue.

    A new account has a quota of 0 GPU vCPU; ``none`` works in it.
    """

    SPOT = "spot"
    ON_DEMAND = "on-demand"
    NONE = "none"


class Encryption(StrEnum):
    """Whose key encrypts what is stored: the service's own, or one of the account."""

    SERVICE = "service"
    KMS = "kms"


class OptionRefused(ValueError):
    """A context value that is not one; the message gives the range."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """One deployment's decisions.

    Attributes
    ----------
    production : bool
        Whether the table is protected against deletion.
    encryption : Encryption
        ``kms`` makes one customer managed key for buckets, table, queues and topic.
    gpu : Gpu
        Where separation runs.
    warm_gpus : int
        GPU machines kept running, 0 to 16; each saves minutes and costs by the hour.
    gpu_idle_minutes : int
        How long a GPU machine waits for another job before it goes: 0, or 20 to 10080.
    fused : bool
        One task for all CPU stages in a row, instead of one each.
    domain_name : str
        The distribution's own name; empty: CloudFront's.
    certificate_arn : str
        ACM certificate of that name, in us-east-1.
    web_acl_arn : str
        WAF web ACL of scope CLOUDFRONT; empty: none.
    alarm_email : str
        Who is told of alarms; empty: the topic has no subscriber.
    models : str
        Separation models baked into the stage images, with spaces between; the
        template's parameter ``SeparatorModel`` says which of them is used.
    python_image, stream_python_image, adapter_image : str
        Bases of the stage images and of the streaming one, and its Lambda Web Adapter, by
        digest; empty: the releases that their files name.
    cors_origins : str
        Origins whose pages may call, separated by commas.
    unfinished_jobs, minutes_per_month, stored_gb : int
        Each owner's quotas, where he has none of his own; 0 sets no limit.
    keyless_calls_per_s : int
        Of each network address that calls without a key; 0 sets no limit.
    """

    production: bool = True
    encryption: Encryption = Encryption.SERVICE
    gpu: Gpu = Gpu.SPOT
    warm_gpus: int = 0
    gpu_idle_minutes: int = 0
    fused: bool = False
    domain_name: str = ""
    certificate_arn: str = ""
    web_acl_arn: str = ""
    alarm_email: str = ""
    models: str = ""
    python_image: str = ""
    stream_python_image: str = ""
    adapter_image: str = ""
    cors_origins: str = "*"
    unfinished_jobs: int = 0
    minutes_per_month: int = 0
    stored_gb: int = 0
    keyless_calls_per_s: int = 0

    def __post_init__(self) -> None:
        """Refuse what fits nothing."""
        if not 0 <= self.warm_gpus <= 16:
            raise OptionRefused(f"warm_gpus is {self.warm_gpus}, not 0 to 16")
        if self.warm_gpus and self.gpu is Gpu.NONE:
            raise OptionRefused("warm_gpus asks for machines that gpu=none does not have")
        if self.gpu_idle_minutes and not 20 <= self.gpu_idle_minutes <= 10_080:
            raise OptionRefused(
                f"gpu_idle_minutes is {self.gpu_idle_minutes}, not 0 or 20 to 10080"
            )
        for name in ("unfinished_jobs", "minutes_per_month", "stored_gb", "keyless_calls_per_s"):
            if getattr(self, name) < 0:
                raise OptionRefused(f"{name} is {getattr(self, name)}, not 0 or more")
        for name in ("python_image", "stream_python_image", "adapter_image"):
            image = getattr(self, name)
            if image and not _BY_DIGEST.search(image):
                raise OptionRefused(f"{name} is {image!r}, not an image by digest: NAME@sha256:…")
        if bool(self.domain_name) != bool(self.certificate_arn):
            raise OptionRefused("domain_name and certificate_arn come together or not at all")
        if self.certificate_arn and ":acm:us-east-1:" not in self.certificate_arn:
            raise OptionRefused("CloudFront takes certificates of us-east-1 only")

    @property
    def storage_origins(self) -> list[str]:
        """Origins whose pages may use the buckets' links: those that may call, and the console.

        The console's own origin is the distribution's. Where that has no name of the
        operator's, CloudFront gives it one, which the buckets cannot ask for: the
        distribution's policy for the console names them. A link is its own permission, so
        a page of another distribution gains nothing by being let in.
        """
        own = f"https://{self.domain_name or '*.cloudfront.net'}"
        listed = self.callers_origins
        return listed if "*" in listed else [*listed, own]

    @property
    def callers_origins(self) -> list[str]:
        """Origins whose pages may call, one by one."""
        return [origin.strip() for origin in self.cors_origins.split(",")]

    @property
    def build_arguments(self) -> dict[str, str]:
        """What the stage images are built with."""
        return _given(MODELS=self.models, PYTHON_IMAGE=self.python_image)

    @property
    def stream_build_arguments(self) -> dict[str, str]:
        """What the streaming image is built with."""
        return _given(PYTHON_IMAGE=self.stream_python_image, ADAPTER_IMAGE=self.adapter_image)

    @classmethod
    def from_context(cls, context: Mapping[str, Any]) -> "Options":
        """Options from context values, which are text on the command line.

        Raises
        ------
        OptionRefused
            A value outside its range.
        """
        given: dict[str, Any] = {
            field.name: _value(field.name, field.default, context[field.name])
            for field in fields(cls)
            if context.get(field.name) is not None
        }
        return cls(**given)


def _given(**arguments: str) -> dict[str, str]:
    return {name: value for name, value in arguments.items() if value}


def _value(name: str, default: object, given: object) -> object:
    text = str(given).strip()
    try:
        match default:
            case bool():
                return {"true": True, "false": False}[text.lower()]
            case int():
                return int(text)
            case StrEnum():
                return type(default)(text)
    except (KeyError, ValueError) as exc:
        raise OptionRefused(f"{name}={text!r} is not one of its values") from exc
    return text
