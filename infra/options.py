"""What an operator may decide about a deployment.

Every option has a default, and the committed snapshot is the template of the
defaults. What differs is kept in a file (`infra.deployment`), or given once by
CDK context (``-c gpu=none``). A value that is none is refused here, before
anything is synthesized of it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any, Final

from clearstem.denoisers import DENOISERS
from clearstem.models import MODELS

# Of a GPU machine, and of a separation on CPUs: what a queue of fewer would never run.
MACHINE_VCPUS: Final = 4

# What AWS offers with one whole NVIDIA GPU (T4, A10G, L4, L40S), an x86 processor,
# `MACHINE_VCPUS` and 16 GiB or more.
GPU_MACHINES: Final = ("g4dn.xlarge", "g5.xlarge", "g6.xlarge", "g6e.xlarge")

_LEAST: Final = {
    "gpu_vcpus": MACHINE_VCPUS,
    "cpu_vcpus": MACHINE_VCPUS,
    "warm_gpus": 0,
    "stage_concurrency": 0,
    "stream_concurrency": 0,
    "unfinished_jobs": 0,
    "minutes_per_month": 0,
    "stored_gb": 0,
    "keyless_calls_per_s": 0,
}
_SEPARATORS: Final = tuple(MODELS)
_DENOISERS: Final = tuple(denoiser.name for denoiser in DENOISERS)
_BY_DIGEST: Final = re.compile(r"@sha256:[0-9a-f]{64}$")


class Gpu(StrEnum):
    """Where separation runs: on GPU machines, or on the CPU queue.

    A new account has a quota of 0 GPU vCPU; ``none`` works in it.
    """

    SPOT = "spot"
    ON_DEMAND = "on-demand"
    NONE = "none"


class Precision(StrEnum):
    """What the separation network computes in; all but ``fp32`` is faster and less exact."""

    FP32 = "fp32"
    BF16 = "bf16"
    FP16 = "fp16"


class Encryption(StrEnum):
    """Whose key encrypts what is stored: the service's own, or one of the account."""

    SERVICE = "service"
    KMS = "kms"


class OptionRefused(ValueError):
    """An option's value that is none; the message gives it, and the range."""


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
    gpu_machines : str
        Types of those machines, with spaces between: of `GPU_MACHINES`, such as the region
        has. Each is a pool of Spot capacity of its own.
    gpu_vcpus, cpu_vcpus : int
        vCPUs that stages may take at a time, 4 or more: of GPU machines, which have 4
        each, by Spot and again by On-Demand, and of Fargate.
    precision : Precision
        Of the separation network; ``fp16`` is for GPUs alone. Jobs' records tell it.
    warm_gpus : int
        GPU machines kept running, at most as many as `gpu_vcpus` has room for; each
        saves minutes and costs by the hour.
    gpu_idle_minutes : int
        How long a GPU machine waits for another job before it goes: 0, or 20 to 10080.
    fused : bool
        One task for all CPU stages in a row, instead of one each.
    stage_concurrency, stream_concurrency : int
        Calls at a time of the stages' function, and of the one that holds event streams
        open: as many of the account's slots are kept for it, and it takes no more; 0: it
        takes what is free. AWS keeps an account's last 100 for all.
    domain_name : str
        The distribution's own name; empty: CloudFront's.
    certificate_arn : str
        ACM certificate of that name, in us-east-1.
    web_acl_arn : str
        WAF web ACL of scope CLOUDFRONT; empty: none.
    alarm_email : str
        Who is told of alarms; empty: the topic has no subscriber.
    models : str
        Models baked into the stage images, with spaces between. Of separators and of
        denoisers the first named is used, unless the template's parameters
        ``SeparatorModel`` and ``DenoiserModel`` name another.
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
    gpu_machines: str = "g4dn.xlarge g5.xlarge g6.xlarge"
    gpu_vcpus: int = 64
    cpu_vcpus: int = 256
    precision: Precision = Precision.FP32
    warm_gpus: int = 0
    gpu_idle_minutes: int = 0
    fused: bool = False
    stage_concurrency: int = 0
    stream_concurrency: int = 0
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
        for name, least in _LEAST.items():
            if getattr(self, name) < least:
                raise OptionRefused(f"{name} is {getattr(self, name)}, not {least} or more")
        if not self.machine_types or not set(self.machine_types) <= set(GPU_MACHINES):
            raise OptionRefused(
                f"gpu_machines is {self.gpu_machines!r}, not one or more of "
                f"{', '.join(GPU_MACHINES)}, with spaces between"
            )
        machines = self.gpu_vcpus // MACHINE_VCPUS
        if self.warm_gpus > machines:
            raise OptionRefused(
                f"warm_gpus is {self.warm_gpus}, not 0 to the {machines} that gpu_vcpus="
                f"{self.gpu_vcpus} has room for"
            )
        if self.warm_gpus and self.gpu is Gpu.NONE:
            raise OptionRefused("warm_gpus asks for machines that gpu=none does not have")
        if self.precision is Precision.FP16 and self.gpu is Gpu.NONE:
            raise OptionRefused("precision is fp16, not fp32 or bf16, which CPUs have")
        if self.gpu_idle_minutes and not 20 <= self.gpu_idle_minutes <= 10_080:
            raise OptionRefused(
                f"gpu_idle_minutes is {self.gpu_idle_minutes}, not 0 or 20 to 10080"
            )
        if unknown := set(self.models.split()) - {*_SEPARATORS, *_DENOISERS}:
            known = ", ".join((*_SEPARATORS, *_DENOISERS))
            raise OptionRefused(f"models has {', '.join(sorted(unknown))}, not any of {known}")
        for name in ("python_image", "stream_python_image", "adapter_image"):
            image = getattr(self, name)
            if image and not _BY_DIGEST.search(image):
                raise OptionRefused(f"{name} is {image!r}, not an image by digest: NAME@sha256:…")
        if not self.callers_origins:
            raise OptionRefused(
                f"cors_origins is {self.cors_origins!r}, not * or origins with commas between"
            )
        if bool(self.domain_name) != bool(self.certificate_arn):
            raise OptionRefused("domain_name and certificate_arn come together or not at all")
        if self.certificate_arn and ":acm:us-east-1:" not in self.certificate_arn:
            raise OptionRefused("CloudFront takes certificates of us-east-1 only")

    @property
    def machine_types(self) -> list[str]:
        """The types of GPU machines, as named."""
        return self.gpu_machines.split()

    @property
    def separators(self) -> list[str]:
        """The separation models in the stage images, as named."""
        return [name for name in self.models.split() if name in _SEPARATORS]

    @property
    def denoisers(self) -> list[str]:
        """The denoisers in the stage images, as named."""
        return [name for name in self.models.split() if name in _DENOISERS]

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
        # As the functions read the same text (`clearstem.settings`).
        return [part.strip() for part in self.cors_origins.split(",") if part.strip()]

    @property
    def edge_is_believed(self) -> bool:
        """Whether functions believe what the distribution says of a call, which takes a secret.

        Calls without a key are counted by the address that it tells; and links begin
        with the Host that it tells where going past it would go past something: a name
        of the operator's, or a web ACL.
        """
        return bool(self.keyless_calls_per_s or self.domain_name or self.web_acl_arn)

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
        """Options from values by their names, which are text on the command line.

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
        raise OptionRefused(f"{name} is {text!r}, not {_range(default)}") from exc
    return text


def _range(default: object) -> str:
    """In words, what is of an option's kind."""
    match default:
        case bool():
            return "true or false"
        case StrEnum():
            return " or ".join(type(default))
    return "a whole number"
