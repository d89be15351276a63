"""What of a file's tags goes along into what is made of it, and what is told to be left out.

Every text goes along but three kinds: what says how the old file was made or laid out, what
measures or identifies its very sound, and what no output format takes as it is.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

# Names that FFmpeg passes on as a format has them (ID3v2.4 section 4.2, RIFF INFO).
_OTHER_NAMES: Final = {
    "year": "date", "tsrc": "isrc", "tbpm": "bpm", "tpe4": "remixer", "text": "lyricist",
    "tkey": "initialkey", "tmoo": "mood", "tit3": "subtitle", "tmed": "media", "ieng": "engineer",
}  # fmt: skip
# ID3 has lyrics for each language: FFmpeg calls them "lyrics-eng".
_LYRICS_IN: Final = "lyrics-"

# How the file was made, is laid out or was sold: the new one was and is not.
_OF_THE_FILE: Final = frozenset(
    {
        "encoder", "encoded_by", "encoder_options", "encoder_settings", "encodersettings",
        "encoding_params", "tsse", "tenc", "tlen", "tdly", "tflt", "creation_time", "duration",
        "major_brand", "minor_version", "compatible_brands", "handler_name", "vendor_id",
        "media_type", "gapless_playback", "hd_video", "bps", "number_of_frames",
        "number_of_bytes", "account_id", "account_type", "purchase_date", "cdec",
        "waveformatextensible_channel_mask", "metadata_block_picture", "coverart",
    }
)  # fmt: skip
_FILE_PREFIXES: Final = ("_statistics_", "itun", "id3v2_priv.", "variant_bitrate")
# What was measured of the sound or identifies it: its gain changes, and so does the sound.
_SOUND_PREFIXES: Final = ("replaygain_", "r128_", "acoustid_fingerprint", "mp3gain_", "accuraterip")
# Places in a file, and its past: true of nothing that is made of it.
_OF_THE_RECORDING: Final = frozenset(
    {"time_reference", "umid", "coding_history", "timecode", "cuesheet"}
)
_RECORDING_PREFIXES: Final = ("loudness_",)
# What most formats tell of each stream.
_OF_THE_STREAM: Final = frozenset({"language"})

# Field names of Vorbis comments (Vorbis I specification, section 5.2.2), lower case here.
_FIELD_NAME: Final = re.compile(r"[ -<>-}]{1,100}")
# A file's own word for how long they are could be anything; songs' lyrics take some kilobytes.
_MOST_BYTES: Final = 2**18
_MOST_TAGS: Final = 200
_MOST_NAMED = 12
_LONGEST_NAME = 40


@dataclass(frozen=True, slots=True)
class Tags:
    """The tags of a file.

    Attributes
    ----------
    kept : dict of str to str
        Those that go along; keys in lower case.
    left_out : tuple of str
        Names of texts that do not and that somebody may miss.
    """

    kept: dict[str, str]
    left_out: tuple[str, ...]


def chosen(found: Mapping[str, str], *, of_stream: Mapping[str, str], is_ogg: bool) -> Tags:
    """What goes along of what FFmpeg found.

    ReplayGain and the like are left out without a word: the gain changes, and players would
    apply the old one to the new sound. So are ``encoder`` and whatever else is of the old file.

    Parameters
    ----------
    found, of_stream : mapping of str to str
        Tags of the container, and of the sound's stream in it.
    is_ogg : bool
        Whether the stream's are the recording's: Ogg has no others.
    """
    named = {key.lower(): text for key, text in of_stream.items()}
    if not is_ogg:
        named = {key: text for key, text in named.items() if key not in _OF_THE_STREAM}
    named |= {key.lower(): text for key, text in found.items()}
    texts = {key: text for key, text in named.items() if text.strip() and not _is_stale(key)}
    lyrics = [key for key in texts if key.startswith(_LYRICS_IN)]
    if lyrics and "lyrics" not in texts:
        texts["lyrics"] = texts.pop(lyrics[0])
    for other, key in _OTHER_NAMES.items():
        if other in texts:
            texts.setdefault(key, texts[other])
            del texts[other]
    fitting = [key for key, text in texts.items() if _goes_along(key, text)][:_MOST_TAGS]
    kept = {key: texts[key] for key in fitting}
    return Tags(kept, tuple(sorted(texts.keys() - kept.keys())))


def listed(names: Collection[str]) -> str:
    """Names of tags, fit to be shown: not too many, none too long, no control characters."""
    shown = [_shown(name) for name in sorted(names)[:_MOST_NAMED]]
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def _is_stale(key: str) -> bool:
    # Matroska's statistics have a language behind their names: "bps-eng".
    bare = key.partition("-")[0]
    return bare in _OF_THE_FILE or key.startswith((*_FILE_PREFIXES, *_SOUND_PREFIXES))


def _goes_along(key: str, text: str) -> bool:
    if key in _OF_THE_RECORDING or key.startswith((*_RECORDING_PREFIXES, _LYRICS_IN)):
        return False
    return bool(_FIELD_NAME.fullmatch(key)) and len(text.encode()) <= _MOST_BYTES


def _shown(name: str) -> str:
    printable = "".join(char if char.isprintable() else "?" for char in name)
    return printable if len(printable) <= _LONGEST_NAME else f"{printable[:_LONGEST_NAME]}…"
