"""Which texts of a file go along, and which are told to stay behind."""

import pytest

from containers.audio.tags import chosen, listed


def kept(found, *, of_stream=None, is_ogg=False):
    return chosen(found, of_stream=of_stream or {}, is_ogg=is_ogg)


def test_any_text_goes_along_under_a_name_that_all_formats_share():
    tags = kept({"Conductor": "Karajan", "LABEL": "DG", "TSRC": "DEX01", "TPE4": "R", "b": " "})
    assert tags.kept == {"conductor": "Karajan", "label": "DG", "isrc": "DEX01", "remixer": "R"}
    assert tags.left_out == ()


@pytest.mark.parametrize(
    "name", ["encoder", "REPLAYGAIN_TRACK_GAIN", "r128_album_gain", "BPS-eng", "iTunSMPB"]
)
def test_what_is_of_the_old_file_or_its_gain_stays_behind_without_a_word(name):
    assert kept({name: "1"}) == kept({})


@pytest.mark.parametrize(
    ("name", "text"),
    [("time_reference", "158760000"), ("a=b", "c"), ("naïf", "c"), ("comment", "c" * 2**19)],
)
def test_what_is_missed_is_told(name, text):
    tags = kept({name: text, "title": "T"})
    assert (tags.kept, tags.left_out) == ({"title": "T"}, (name,))


def test_of_lyrics_in_several_languages_the_first_go_along():
    tags = kept({"lyrics-eng": "La", "lyrics-deu": "Trala"})
    assert (tags.kept, tags.left_out) == ({"lyrics": "La"}, ("lyrics-deu",))


def test_the_language_of_a_stream_is_a_tag_in_ogg_alone():
    of_stream = {"LANGUAGE": "und", "TITLE": "T"}
    assert kept({}, of_stream=of_stream).kept == {"title": "T"}
    assert kept({}, of_stream=of_stream, is_ogg=True).kept == {"language": "und", "title": "T"}


def test_a_file_of_thousands_of_tags_keeps_some_and_names_few():
    tags = kept({f"tag{n:04}": "x" for n in range(5_000)})
    assert (len(tags.kept), len(tags.left_out)) == (200, 4_800)
    assert listed(tags.left_out).endswith("tag0211 and 4788 more")


def test_a_name_in_a_note_is_short_and_printable():
    assert listed(["\x1b[31m" + "x" * 90]) == "?[31m" + "x" * 35 + "…"
