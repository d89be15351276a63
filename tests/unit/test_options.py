"""What a separation may be asked for, and where its files lie."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clearstem.errors import InvalidOption
from clearstem.options import (
    Decompose,
    DenoiseOptions,
    DenoiserChoice,
    EngineChoice,
    Gain,
    SeparateOptions,
    separate_options,
)
from clearstem.recipes import (
    DENOISE,
    RECIPES,
    RESIDUAL,
    SEPARATE,
    STEMS,
    EngineName,
)


def test_no_options_are_the_defaults_of_the_contract():
    assert separate_options({}) == SeparateOptions(EngineChoice.AUTO, "wav", -14.0, -1.0)


def test_null_and_empty_fields_take_their_defaults():
    given_fields = {"engine": None, "format": "", "target_lufs": None, "ceiling_dbtp": ""}
    assert separate_options(given_fields) == SeparateOptions()


def test_options_come_as_text_or_as_numbers():
    expected = SeparateOptions(EngineChoice.SPECTRAL, "flac", -16.0, -2.0)
    form = {"engine": "spectral", "format": ".FLAC", "target_lufs": "-16", "ceiling_dbtp": "-2.0"}
    body = {"engine": "spectral", "format": "flac", "target_lufs": -16, "ceiling_dbtp": -2.0}
    assert separate_options(form) == separate_options(body) == expected


def test_zero_is_a_value_and_not_an_empty_field():
    assert separate_options({"ceiling_dbtp": 0}).ceiling_dbtp == 0.0
    with pytest.raises(InvalidOption, match="target_lufs 0 is outside -40 to -5 LUFS"):
        separate_options({"target_lufs": 0})


@pytest.mark.parametrize("name", ["formt", "Engine", "output_format", "target-lufs"])
def test_an_option_of_an_unknown_name_is_refused_not_ignored(name):
    with pytest.raises(InvalidOption, match=f"unknown option '{name}': engine, format"):
        separate_options({name: "wav", "engine": "auto"})


@pytest.mark.parametrize("engine", ["umx", "DEMUCS", 1.0])
def test_an_unknown_engine_is_refused_with_those_that_are_known(engine):
    with pytest.raises(InvalidOption) as refused:
        separate_options({"engine": engine})
    assert str(refused.value) == f"engine {engine!r} is not one of auto, demucs, spectral"


@pytest.mark.parametrize("extension", ["aac", "wave", "wav ", "mp3.exe"])
def test_an_unknown_format_is_refused_with_those_that_are_known(extension):
    with pytest.raises(InvalidOption) as refused:
        separate_options({"format": extension})
    known = "wav, flac, mp3, ogg, m4a, opus, aiff"
    assert str(refused.value) == f"format {extension!r} is not one of {known}"


@pytest.mark.parametrize("text", ["loud", "-14 LUFS", "--14", "true", True, "0x10"])
def test_a_loudness_that_is_no_number_is_refused(text):
    with pytest.raises(InvalidOption, match=r"^target_lufs .* is not a number$"):
        separate_options({"target_lufs": text})


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "1e999"])
def test_a_number_that_is_not_finite_is_outside_every_range(text):
    with pytest.raises(InvalidOption, match=r"ceiling_dbtp .* is outside -20 to 0 dBTP"):
        separate_options({"ceiling_dbtp": text})


@pytest.mark.parametrize(
    ("option", "low", "high"), [("target_lufs", -40.0, -5.0), ("ceiling_dbtp", -20.0, 0.0)]
)
def test_the_ends_of_a_range_belong_to_it_and_nothing_beyond(option, low, high):
    assert getattr(separate_options({option: low}), option) == low
    assert getattr(separate_options({option: high}), option) == high
    for beyond in (math.nextafter(low, -math.inf), math.nextafter(high, math.inf)):
        with pytest.raises(InvalidOption, match=f"{option} .* is outside {low:g} to {high:g}"):
            separate_options({option: beyond})


@given(st.dictionaries(st.text(), st.one_of(st.none(), st.text(), st.floats()), max_size=4))
@settings(max_examples=100, deadline=None)
def test_whatever_a_client_sends_is_options_or_a_refusal(fields):
    try:
        options = separate_options(fields)
    except InvalidOption:
        return
    assert -40.0 <= options.target_lufs <= -5.0
    assert -20.0 <= options.ceiling_dbtp <= 0.0


def test_options_built_in_code_are_held_to_the_same_ranges():
    with pytest.raises(InvalidOption, match="target_lufs -41 is outside"):
        SeparateOptions(target_lufs=-41.0)
    with pytest.raises(InvalidOption, match="format 'WAV' is not one of"):
        SeparateOptions(output_format="WAV")


def test_every_engine_can_be_asked_for_by_name():
    names = {*EngineChoice, *DenoiserChoice} - {"auto"}
    assert names == set(EngineName)


@pytest.mark.parametrize(
    ("given_fields", "named"),
    [
        ({"strength": 0.5}, "noise reduction amount 0.5 is outside 1 to 100%"),
        ({"strength": math.nan}, "noise reduction amount nan"),
        ({"auto_level_lufs": -41.0}, "volume -41 is outside -40 to -5 LUFS"),
        ({"output_extension": ".wav"}, "output extension '.wav' is not one of wav"),
        ({"output_extension": "amr"}, "output extension 'amr' is not one of wav"),
    ],
)
def test_a_noise_reduction_out_of_its_range_is_refused(given_fields, named):
    with pytest.raises(InvalidOption, match=named):
        DenoiseOptions(**given_fields)


def test_options_know_their_recipe():
    assert SeparateOptions().recipe is SEPARATE
    assert DenoiseOptions().recipe is DENOISE
    assert set(RECIPES) == {"separate", "denoise"}


def test_the_options_of_gain_and_decomposition_come_as_text_or_as_values():
    expected = SeparateOptions(
        gain=Gain.PER_TRACK,
        limit=True,
        residual=True,
        decompose=Decompose.DRUMS,
        hpss_kernel=17,
        hpss_margin=2.5,
    )
    names = ("gain", "limit", "residual", "decompose", "hpss_kernel", "hpss_margin")
    form = dict(zip(names, ("track", "true", "1", "drums", "17", "2.5"), strict=True))
    body = dict(zip(names, ("track", True, True, "drums", 17, 2.5), strict=True))
    assert separate_options(form) == separate_options(body) == expected


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("gain", "both", "gain 'both' is not one of common, track"),
        ("decompose", "main", "decompose 'main' is not one of accompaniment, source, vocals"),
        ("limit", "maybe", "limit 'maybe' is not one of true, false, 1, 0"),
        ("residual", 2, "residual 2 is not one of true, false, 1, 0"),
        ("hpss_kernel", 1, "hpss_kernel 1 is outside 3 to 101 frames"),
        ("hpss_kernel", 103, "hpss_kernel 103 is outside 3 to 101 frames"),
        ("hpss_kernel", 32, "hpss_kernel 32 is even; it must be odd"),
        ("hpss_kernel", "31.5", "hpss_kernel '31.5' is not a whole number"),
        ("hpss_kernel", "nan", "hpss_kernel 'nan' is not a whole number"),
        ("hpss_margin", 0.9, "hpss_margin 0.9 is outside 1 to 10"),
        ("hpss_margin", "10.1", "hpss_margin 10.1 is outside 1 to 10"),
    ],
)
def test_an_option_out_of_its_range_is_refused_with_what_is_accepted(option, value, message):
    with pytest.raises(InvalidOption, match=f"^{message}"):
        separate_options({option: value})


@pytest.mark.parametrize("stem", STEMS)
def test_any_stem_can_be_decomposed(stem):
    assert separate_options({"decompose": stem}).decompose == stem


def test_the_residual_is_a_tenth_track_where_it_is_asked_for():
    assert SeparateOptions().tracks == SEPARATE.tracks
    assert SeparateOptions(residual=True).tracks == (*SEPARATE.tracks, RESIDUAL)
