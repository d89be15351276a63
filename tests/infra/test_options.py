"""What an operator may decide by context, and what is refused."""

import pytest

from infra.options import Encryption, Gpu, OptionRefused, Options

DIGEST = "0123456789abcdef" * 4
CERTIFICATE = "arn:aws:acm:us-east-1:123456789012:certificate/x"


def test_without_context_every_option_takes_its_default():
    assert Options.from_context({}) == Options()
    assert Options.from_context({"gpu": None}) == Options()


def test_the_command_lines_text_becomes_values():
    given = {"production": "False", "encryption": "kms", "gpu": "none", "fused": "true"}
    assert Options.from_context(given) == Options(
        production=False, encryption=Encryption.KMS, gpu=Gpu.NONE, fused=True
    )
    assert Options.from_context({"warm_gpus": "2"}).warm_gpus == 2
    assert Options.from_context({"precision": "bf16", "gpu": "none"}).precision == "bf16"
    assert Options.from_context({"production": True}).production is True


@pytest.mark.parametrize(
    "given",
    [
        {"gpu": "a100"},
        {"production": "perhaps"},
        {"warm_gpus": "some"},
        {"warm_gpus": "-1"},
        {"warm_gpus": "17"},
        {"warm_gpus": "3", "gpu_vcpus": "11"},
        {"gpu_vcpus": "3"},
        {"gpu_machines": ""},
        {"gpu_machines": "g5.xlarge,g6.xlarge"},
        {"gpu_machines": "g5.xlarge g5g.xlarge"},
        {"cpu_vcpus": "2"},
        {"stage_concurrency": "-1"},
        {"stream_concurrency": "many"},
        {"warm_gpus": "1", "gpu": "none"},
        {"precision": "int8"},
        {"precision": "fp16", "gpu": "none"},
        {"gpu_idle_minutes": "19"},
        {"python_image": "python:3.11"},
        {"stream_python_image": "python@sha256:beef"},
        {"adapter_image": f"adapter@sha256:{DIGEST}:latest"},
        {"cors_origins": ""},
        {"cors_origins": " , "},
        {"domain_name": "sound.example.com"},
        {"certificate_arn": CERTIFICATE},
        {
            "domain_name": "sound.example.com",
            "certificate_arn": CERTIFICATE.replace("us-east-1", "eu-west-1"),
        },
    ],
    ids=str,
)
def test_a_value_that_is_none_is_refused(given):
    with pytest.raises(OptionRefused):
        Options.from_context(given)


def test_an_origin_is_one_of_the_parts_that_say_something():
    given = Options.from_context({"cors_origins": "https://a.example,, https://b.example,"})
    assert given.callers_origins == ["https://a.example", "https://b.example"]


def test_a_deployment_that_lets_no_pages_call_is_told_which_option_says_so():
    with pytest.raises(OptionRefused, match="cors_origins is ',', not"):
        Options(cors_origins=",")


def test_a_domain_comes_with_its_certificate():
    given = {"domain_name": "sound.example.com", "certificate_arn": CERTIFICATE}
    assert Options.from_context(given).domain_name == "sound.example.com"


def test_each_image_is_built_on_the_bases_that_were_given_for_it():
    stages, stream, adapter = (f"{name}@sha256:{DIGEST}" for name in ("a", "b", "c"))
    given = Options(python_image=stages, stream_python_image=stream, adapter_image=adapter)
    assert given.build_arguments == {"PYTHON_IMAGE": stages}
    assert given.stream_build_arguments == {"PYTHON_IMAGE": stream, "ADAPTER_IMAGE": adapter}
    assert Options().build_arguments == Options().stream_build_arguments == {}


@pytest.mark.parametrize(
    ("given", "origins"),
    [
        ({}, ["*"]),
        ({"cors_origins": "https://a.example, *"}, ["https://a.example", "*"]),
        ({"cors_origins": "https://a.example"}, ["https://a.example", "https://*.cloudfront.net"]),
        (
            {
                "cors_origins": "https://a.example,https://b.example",
                "domain_name": "sound.example.com",
                "certificate_arn": CERTIFICATE,
            },
            ["https://a.example", "https://b.example", "https://sound.example.com"],
        ),
    ],
)
def test_the_console_may_use_storage_whoever_else_may(given, origins):
    assert Options.from_context(given).storage_origins == origins


@pytest.mark.parametrize(
    ("given", "believed"),
    [
        ({}, False),
        ({"stored_gb": "5", "gpu": "none"}, False),
        ({"keyless_calls_per_s": "1"}, True),
        ({"web_acl_arn": "arn:aws:wafv2:us-east-1:123456789012:global/webacl/mine/0b9d"}, True),
        (
            {
                "domain_name": "sound.example.com",
                "certificate_arn": "arn:aws:acm:us-east-1:123456789012:certificate/0b9d",
            },
            True,
        ),
    ],
)
def test_the_distribution_proves_itself_where_something_hangs_on_what_it_says(given, believed):
    assert Options.from_context(given).edge_is_believed is believed
