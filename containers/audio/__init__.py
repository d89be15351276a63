"""The audio engine: decoding, separation, decomposition, loudness, encoding, in blocks."""
