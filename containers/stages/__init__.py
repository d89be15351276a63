"""The stages: each fetches what it reads, calls the audio room, keeps what it wrote."""
