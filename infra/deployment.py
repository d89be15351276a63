"""What was decided about one deployment, in a file beside the repository's own.

CDK's context is told anew with each command, and what is not told takes its
default: an upgrade would change the deployment back. So `cdk.json` names a file
that git ignores, which every command reads. The committed template, the twin
and the checks are of the defaults and never read it.
"""

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

from infra.options import OptionRefused, Options


def read(path: Path) -> dict[str, Any]:
    """The options that a file gives, by name; their ranges are not looked at.

    Raises
    ------
    OptionRefused
        It is no object of JSON, names what is no option, or gives one a list, an object or
        null.
    OSError
        It cannot be read.
    """
    try:
        given = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as exc:
        raise OptionRefused(f"{path.name} is not JSON: {exc}") from exc
    if not isinstance(given, dict):
        raise OptionRefused(f"{path.name} holds {json.dumps(given)}, not an object of options")
    known = [option.name for option in fields(Options)]
    if unknown := sorted(given.keys() - set(known)):
        raise OptionRefused(
            f"{path.name} has {', '.join(unknown)}; the options are {', '.join(known)}"
        )
    for name, value in given.items():
        if not isinstance(value, str | int):
            raise OptionRefused(
                f"{name} is {json.dumps(value)}, not a text, a whole number, true or false"
            )
    return given
