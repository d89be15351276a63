"""The shortest recording that a job can be made of, without an array library."""

import struct

_RATE_HZ = 8000
_BYTES = 2 * _RATE_HZ


def silence() -> bytes:
    """One second of 16-bit mono silence at 8 kHz, as a WAV file."""
    fields = (b"RIFF", 36 + _BYTES, b"WAVE", b"fmt ", 16, 1, 1, _RATE_HZ, _BYTES, 2, 16)
    head = struct.pack("<4sI4s4sIHHIIHH", *fields)
    return head + b"data" + struct.pack("<I", _BYTES) + bytes(_BYTES)
