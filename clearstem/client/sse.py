"""Server-sent events, as far as a log of numbered events needs them."""

from dataclasses import dataclass


@dataclass(slots=True)
class EventNumbers:
    """Reads the ids of events off a stream that comes in pieces.

    After the HTML standard, 9.2.6: lines end with LF, CR or both, an event with
    an empty line, and an id counts when its event is whole.
    """

    _rest: bytes = b""
    _id: int | None = None

    def feed(self, piece: bytes) -> list[int]:
        """The numbers of the events that are whole with this piece."""
        text = self._rest + piece
        # A CR at the end may be half of a CR LF.
        held = b"\r" if text.endswith(b"\r") else b""
        lines = text[: len(text) - len(held)].replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *whole, rest = lines.split(b"\n")
        self._rest = rest + held
        numbers = []
        for line in whole:
            if line:
                self._take(line.decode(errors="replace"))
            elif self._id is not None:
                numbers.append(self._id)
                self._id = None
        return numbers

    def _take(self, line: str) -> None:
        name, _, value = line.partition(":")
        if name == "id" and value.strip().isdecimal():
            self._id = int(value)
