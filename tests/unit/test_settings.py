"""What a deployment sets by its environment."""

from pathlib import Path

import pytest

from clearstem.media import MEBIBYTE
from clearstem.settings import Settings

REQUIRED = {
    "CLEARSTEM_TABLE": "table",
    "CLEARSTEM_UPLOADS_BUCKET": "uploads",
    "CLEARSTEM_WORK_BUCKET": "work",
    "CLEARSTEM_TRACKS_BUCKET": "tracks",
    "CLEARSTEM_DROP_BUCKET": "drop",
}


def test_the_names_of_the_resources_are_enough():
    found = Settings.from_env(REQUIRED)
    assert found == Settings("table", "uploads", "work", "tracks", "drop")
    assert found.max_upload_bytes == 500 * MEBIBYTE
    assert (found.cors_origins, found.keyless_owner) == (("*",), "")
    assert (found.models_dir, found.stream_downloads) == (None, False)


@pytest.mark.parametrize("missing", REQUIRED)
def test_a_missing_name_is_named(missing):
    with pytest.raises(KeyError, match=missing):
        Settings.from_env({k: v for k, v in REQUIRED.items() if k != missing})


def test_every_variable_has_its_setting():
    found = Settings.from_env(
        {
            **REQUIRED,
            "CLEARSTEM_SEPARATE_STATE_MACHINE_ARN": "arn:aws:states:eu-west-1:1:stateMachine:s",
            "CLEARSTEM_DENOISE_STATE_MACHINE_ARN": "arn:aws:states:eu-west-1:1:stateMachine:d",
            "CLEARSTEM_WEBSOCKET_URL": "https://ws.example/live",
            "CLEARSTEM_KEYLESS_OWNER": "local",
            "CLEARSTEM_SEPARATOR_MODEL": "htdemucs",
            "CLEARSTEM_DENOISER_MODEL": "dtln",
            "CLEARSTEM_MODELS_DIR": "/models",
            "CLEARSTEM_VOICE_MAX_UPLOAD_BYTES": "900",
            "CLEARSTEM_VOICE_MAX_DURATION_S": "12.5",
            "CLEARSTEM_MAX_UPLOAD_BYTES": "1000",
            "CLEARSTEM_CORS_ORIGINS": "https://a.example, https://b.example,",
            "CLEARSTEM_STREAM_DOWNLOADS": "1",
            "CLEARSTEM_PROGRESS_INTERVAL_S": "0.25",
            "CLEARSTEM_SEPARATOR_DEVICE": "cuda",
            "CLEARSTEM_SEPARATOR_PRECISION": "bf16",
            "CLEARSTEM_CACHE_DIR": "/cache",
        }
    )
    assert found == Settings(
        "table",
        "uploads",
        "work",
        "tracks",
        "drop",
        separate_state_machine_arn="arn:aws:states:eu-west-1:1:stateMachine:s",
        denoise_state_machine_arn="arn:aws:states:eu-west-1:1:stateMachine:d",
        websocket_url="https://ws.example/live",
        keyless_owner="local",
        separator_model="htdemucs",
        denoiser_model="dtln",
        models_dir=Path("/models"),
        voice_max_upload_bytes=900,
        voice_max_duration_s=12.5,
        max_upload_bytes=1000,
        cors_origins=("https://a.example", "https://b.example"),
        stream_downloads=True,
        progress_interval_s=0.25,
        separator_device="cuda",
        separator_precision="bf16",
        cache_dir=Path("/cache"),
    )


def test_conversions_are_kept_in_the_user_s_cache_unless_told_otherwise():
    def cache(**env):
        return Settings.from_env(REQUIRED | env).cache_dir

    assert cache(HOME="/home/ada") == Path("/home/ada/.cache/clearstem/networks")
    assert cache(HOME="/home/ada", XDG_CACHE_HOME="/c") == Path("/c/clearstem/networks")
    assert cache(HOME="/home/ada", CLEARSTEM_CACHE_DIR="") is None


def test_an_empty_variable_is_as_good_as_none():
    optional = ("MODELS_DIR", "MAX_UPLOAD_BYTES", "CORS_ORIGINS", "STREAM_DOWNLOADS")
    empty = {f"CLEARSTEM_{name}": "" for name in (*optional, "PROGRESS_INTERVAL_S")}
    assert Settings.from_env({**REQUIRED, **empty}) == Settings.from_env(REQUIRED)


@pytest.mark.parametrize("value", ["0", "false", "", "no"])
def test_downloads_are_streamed_only_where_that_is_set_to_1(value):
    found = Settings.from_env({**REQUIRED, "CLEARSTEM_STREAM_DOWNLOADS": value})
    assert not found.stream_downloads


def test_without_a_mapping_the_environment_of_the_process_is_read(monkeypatch):
    for name, value in REQUIRED.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("CLEARSTEM_KEYLESS_OWNER", "of this process")
    assert Settings.from_env().keyless_owner == "of this process"


@pytest.mark.parametrize(
    ("endpoint", "near"),
    [
        (None, False),
        ("", False),
        ("https://s3.eu-west-1.amazonaws.com", False),
        ("http://127.0.0.1.example.com:4566", False),
        ("http://127.0.0.1:4566", True),
        ("http://localhost:4566", True),
    ],
)
def test_addresses_lead_to_this_machine_only_where_aws_is_an_emulator_on_it(endpoint, near):
    """No variable of ours says so: in a function, 127.0.0.1 is the runtime's own API."""
    given = {} if endpoint is None else {"AWS_ENDPOINT_URL": endpoint}
    switched = {"CLEARSTEM_URL_ALLOW_LOOPBACK": "1", **given}
    found = Settings.from_env({**REQUIRED, **switched})
    assert (found.url_allow_loopback, found.webhook_allow_loopback) == (near, near)
