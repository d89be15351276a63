"""Security headers, and the content security policies of our pages.

A page's policy names its inline scripts and styles by their sha256, so nothing
that gets into the page by other ways runs. Whatever serves a page takes its
policy from here: the API, and the distribution that serves the console out of
a bucket.
"""

import base64
import hashlib
import re
from collections.abc import Collection, Mapping
from typing import Final

HSTS_S: Final = 730 * 24 * 3600
STRICT_TRANSPORT: Final[Mapping[str, str]] = {"Strict-Transport-Security": f"max-age={HSTS_S}"}
HEADERS: Final[Mapping[str, str]] = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    # For browsers that do not know frame-ancestors.
    "X-Frame-Options": "DENY",
    # Of what is no page: nothing in it is run, loaded or framed.
    "Content-Security-Policy": "default-src 'none'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
}
_INLINE: Final = re.compile(r"<(script|style)>(.*?)</\1>", re.DOTALL)


def page_policy(
    page: str, *, storage: Collection[str], assets: Collection[str] = ("'self'",)
) -> str:
    """The policy of a page that talks to this host and to storage, and to nobody else.

    Parameters
    ----------
    page : str
        Its HTML; scripts and styles in it without attributes are allowed as they are.
    storage : collection of str
        Origins that presigned links lead to.
    assets : collection of str
        Where scripts and styles that are no part of it are loaded from.
    """
    theirs = " ".join(storage)
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src {_sources(page, 'script', assets)}",
            f"style-src {_sources(page, 'style', assets)}",
            "img-src 'self' data: blob:",
            "font-src 'self'",
            # A WebSocket of this very host is 'self' as well (CSP 3, 6.7.2.8).
            f"connect-src 'self' {theirs}",
            f"media-src 'self' blob: {theirs}",
            "base-uri 'none'",
            "form-action 'self'",
            "frame-ancestors 'none'",
        )
    )


def _sources(page: str, kind: str, assets: Collection[str]) -> str:
    inline = (text for found, text in _INLINE.findall(page) if found == kind)
    return " ".join((*assets, *(_hashed(text) for text in inline)))


def _hashed(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
