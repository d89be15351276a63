"""What all errors have in common."""

from collections.abc import Mapping
from typing import ClassVar


class ClearstemError(Exception):
    """The root: its message is fit to be shown, `facts` tell the same as JSON values by name."""

    http_status: ClassVar[int] = 500
    state_name: ClassVar[str] = "Clearstem.Error"

    def __init__(self, message: str, *, facts: Mapping[str, object] | None = None) -> None:
        super().__init__(message)
        self.facts = dict(facts or {})
