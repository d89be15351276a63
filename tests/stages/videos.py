"""Small videos for the tests, made on the spot, and what is read back of videos."""

import hashlib
import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from tests.signals import Floats, chirp

RATE_HZ = 48_000
FPS = 25


def write_video(
    path: Path,
    *,
    muxer: str,
    picture: str = "mpeg4",
    sound: str | None = "aac",
    seconds: float = 2.0,
    begin_s: float = 0.0,
    further_sound: bool = False,
    subtitles: str | None = None,
    labelled: bool = False,
    b_frames: int = 0,
    font: bytes = b"",
    samples: Floats | None = None,
) -> Path:
    """Moving bars with a chirp that begins after `begin_s`."""
    if samples is None:
        samples = chirp(round(seconds * RATE_HZ), rate_hz=RATE_HZ, channels=2, top=0.1)
    with av.open(str(path), "w", format=muxer) as file:
        shown = file.add_stream(picture, rate=FPS)
        shown.width, shown.height, shown.pix_fmt = 64, 48, "yuv420p"
        if b_frames:
            shown.codec_context.max_b_frames = b_frames
        heard = [_sound_stream(file, sound) for _ in range(1 + further_sound) if sound]
        texts = file.add_mux_stream(subtitles) if subtitles else None
        if texts is not None:
            texts.time_base = Fraction(1, 1000)
        if font:
            file.add_attachment("letters.ttf", "application/x-truetype-font", font)
        if labelled:
            file.metadata.update({"title": "Bars", "artist": "Nobody"})
            shown.metadata["language"] = "swe"
            file.set_chapters([_chapter(0, 0, 900, "One"), _chapter(1, 900, 2000, "Two")])
        packets = _picture_packets(shown, round(seconds * FPS))
        for stream in heard:
            packets += _sound_packets(stream, samples, begin_s)
        if texts is not None:
            packets.append(_text_packet(texts, subtitles))
        for packet in sorted(packets, key=lambda p: p.dts * p.time_base):
            file.mux(packet)
    return path


def _sound_stream(file, codec):
    stream = file.add_stream(codec, rate=RATE_HZ)
    stream.codec_context.layout = "stereo"
    stream.codec_context.bit_rate = 128_000
    return stream


def _chapter(number, start, end, title):
    return {
        "id": number,
        "start": start,
        "end": end,
        "time_base": Fraction(1, 1000),
        "metadata": {"title": title},
    }


def _picture_packets(stream, count):
    packets = []
    for number in range(count):
        bars = np.full((72, 64), (number * 9) % 200, np.uint8)
        bars[:, (number * 3) % 60 :] = 128
        frame = av.VideoFrame.from_ndarray(bars, format="yuv420p")
        frame.pts = number
        packets += stream.encode(frame)
    return packets + stream.encode(None)


def _sound_packets(stream, samples, begin_s):
    frame = av.AudioFrame.from_ndarray(
        np.ascontiguousarray(samples.T).reshape(1, -1), format="flt", layout="stereo"
    )
    frame.sample_rate, frame.time_base = RATE_HZ, Fraction(1, RATE_HZ)
    frame.pts = round(begin_s * RATE_HZ)
    return stream.encode(frame) + stream.encode(None)


def _text_packet(stream, codec):
    text = b"A line"
    packet = av.Packet(len(text).to_bytes(2, "big") + text if codec == "mov_text" else text)
    packet.stream, packet.time_base = stream, Fraction(1, 1000)
    packet.pts = packet.dts = 500
    packet.duration = 700
    return packet


def trim(path: Path, into: Path, *, start_s: float, seconds: float) -> Path:
    """A copy of an mp4 whose edit lists show a part only, as phones trim: no packet is gone.

    Each list has one entry (ISO/IEC 14496-12, 8.6.6), and stands before its track's own clock.
    """
    data = bytearray(path.read_bytes())
    movie_hz = _number(data, data.index(b"mvhd") + 16)
    at = data.find(b"elst")
    while at >= 0:
        track_hz = _number(data, data.index(b"mdhd", at) + 16)
        media = _number(data, at + 16) + round(start_s * track_hz)
        data[at + 12 : at + 20] = struct.pack(">II", round(seconds * movie_hz), media)
        at = data.find(b"elst", at + 4)
    into.write_bytes(data)
    return into


def _number(data: bytearray, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "big")


def picture_packets(path: Path) -> list[tuple[str, Fraction]]:
    """Hash and time of showing, in s, of each packet of the first video stream."""
    with av.open(str(path), options={"fflags": "+genpts"}) as file:
        return [
            (hashlib.sha256(bytes(packet)).hexdigest(), packet.pts * packet.time_base)
            for packet in file.demux(video=0)
            if packet.size
        ]


def sound_begin_s(path: Path) -> float:
    """When the first sound's first frame is heard."""
    with av.open(str(path)) as file:
        frame = next(file.decode(audio=0))
        return float(frame.pts * frame.time_base)


def delay(reference: Floats, heard: Floats) -> int:
    """Frames by which `heard` lags behind `reference`, by cross-correlation of channel 0."""
    count = min(reference.shape[1], heard.shape[1], 1 << 17)
    size = 2 * count
    spectra = [np.fft.rfft(samples[0, :count], size) for samples in (reference, heard)]
    likeness = np.fft.irfft(spectra[1] * np.conj(spectra[0]), size)
    at = int(np.argmax(likeness))
    return at if at < count else at - size
