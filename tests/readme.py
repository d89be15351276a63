"""The README's examples, as tests read them."""

import json
import re
from pathlib import Path
from typing import Any

README = Path(__file__).resolve().parents[1] / "README.md"


def answers() -> list[tuple[int, dict[str, str], dict[str, Any]]]:
    """Status, headers and body of each HTTP answer that it shows."""
    blocks = re.findall(r"^```http\n(.*?)^```", README.read_text(), re.MULTILINE | re.DOTALL)
    return [_answer(block) for block in blocks]


def _answer(block: str) -> tuple[int, dict[str, str], dict[str, Any]]:
    head, _, body = block.partition("\n\n")
    status, *lines = head.splitlines()
    headers = dict(line.split(": ", 1) for line in lines)
    return int(status.split()[1]), headers, json.loads(body)
