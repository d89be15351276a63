"""The core, composed once per process from the environment.

Every entry point takes its `Service` from here on its first event; importing
a handler reads nothing and connects to nothing.
"""

from functools import cache

from clearstem.service import Service


@cache
def service() -> Service:
    """The service of this process."""
    return Service.from_env()
