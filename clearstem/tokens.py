"""Bearer tokens of an OpenID Connect issuer: whose they are, if they are good.

A token names its algorithm and its key, and a forger writes what he likes. So
the key comes from the issuer's published set alone, is of one algorithm, which
is RS256 or ES256, and only a token of that algorithm is verified with it. The
cryptography is PyJWT's, which is imported by the first text that has a token's
form: neither calls by API key nor nonsense pay for it.
"""

import hashlib
import json
import re
import threading
import time
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from clearstem.accounts import OWNER
from clearstem.errors import IssuerUnavailable, Unauthorized
from clearstem.scopes import Caller, caller

if TYPE_CHECKING:
    from jwt import PyJWK

_ALGORITHMS: Final = {"RSA": "RS256", "EC": "ES256"}
# Keys that an issuer withdraws are out after an hour.
_FRESH_S: Final = 3600.0
# An unknown key may be a new one; who makes keys up must not have us ask for each.
_PAUSE_S: Final = 30.0
# While nothing is known at all, everybody waits for the next answer.
_OUTAGE_S: Final = 2.0
_FETCH_S: Final = 5.0
_LARGEST_SET_BYTES: Final = 1 << 20
_LONGEST_TOKEN: Final = 16 * 1024
# Header, claims and signature (RFC 7515, 3.1); one that is not signed has no third part.
_SIGNED: Final = re.compile(r"[\w-]+\.[\w-]+\.[\w-]+", re.ASCII)
# Owners' names may have 64 characters; hexadecimal digits say nothing of the subject.
_HASHED: Final = "sub-"
_HASH_DIGITS: Final = 40

FetchKeys = Callable[[], bytes]
"""The issuer's key set (RFC 7517), as JSON.

Raises `OSError` where it does not come, and `HTTPException` where it breaks off.
"""


def fetch_keys(url: str) -> bytes:
    """Ask for a key set by ``https``, or by ``http`` on this machine, within 5 s."""
    parts = urlsplit(url)
    near = parts.scheme == "http" and parts.hostname in ("127.0.0.1", "localhost")
    if parts.scheme != "https" and not near:
        raise OSError("the address of the issuer's keys is not https")
    with urllib.request.urlopen(url, timeout=_FETCH_S) as answer:  # noqa: S310  # checked above
        body: bytes = answer.read(_LARGEST_SET_BYTES)
    return body


@dataclass(slots=True)
class KeySet:
    """An issuer's keys, kept for an hour and asked for anew where one is not known.

    Used by several threads.

    Attributes
    ----------
    monotonic : callable
        Seconds that only go forward.
    """

    fetch: FetchKeys
    monotonic: Callable[[], float] = time.monotonic
    _keys: Mapping[str, "PyJWK"] = field(default_factory=dict, init=False)
    _asked_at: float = field(default=float("-inf"), init=False)
    _fresh_until: float = field(default=float("-inf"), init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def key(self, key_id: str) -> "PyJWK | None":
        """The key of that id; None where the issuer has none.

        Raises
        ------
        IssuerUnavailable
            The issuer does not give its keys, and none are known from before.
        """
        with self._lock:
            now = self.monotonic()
            wanted = key_id not in self._keys or now >= self._fresh_until
            if wanted and now - self._asked_at >= (_PAUSE_S if self._keys else _OUTAGE_S):
                self._ask(now)
            if not self._keys:
                raise IssuerUnavailable("the issuer's keys cannot be had; try again")
            return self._keys.get(key_id)

    def _ask(self, now: float) -> None:
        self._asked_at = now
        try:
            found = _usable(json.loads(self.fetch()))
        except (OSError, HTTPException, ValueError):
            found = {}
        # The keys from before, if there are any, are better than nobody let in.
        if found:
            self._keys, self._fresh_until = found, now + _FRESH_S


def _usable(document: Any) -> dict[str, "PyJWK"]:
    """The signing keys of a set by their ids; what cannot be used is left out."""
    from jwt import PyJWK
    from jwt.exceptions import PyJWTError

    found: dict[str, PyJWK] = {}
    entries = document.get("keys") if isinstance(document, dict) else None
    for entry in entries if isinstance(entries, list) else ():
        algorithm = _ALGORITHMS.get(str(entry.get("kty"))) if isinstance(entry, dict) else None
        if algorithm is None or not isinstance(entry.get("kid"), str):
            continue
        if entry.get("use", "sig") != "sig" or entry.get("alg", algorithm) != algorithm:
            continue
        try:
            found[entry["kid"]] = PyJWK(entry, algorithm)
        except (PyJWTError, ValueError):
            continue
    return found


@dataclass(frozen=True, slots=True)
class Tokens:
    """Verifies the tokens of one issuer.

    Attributes
    ----------
    leeway_s : float
        How far the issuer's clock may be from ours.
    """

    issuer: str
    audience: str
    keys: KeySet
    leeway_s: float

    def identify(self, token: str) -> Caller:
        """Whose a token is, and what it may be used for.

        Raises
        ------
        Unauthorized
            It is not good; the message says why, and never repeats it.
        IssuerUnavailable
            The issuer does not give its keys.
        """
        claims = self._claims(token)
        subject = claims.get("sub")
        if not isinstance(subject, str) or not subject:
            raise Unauthorized("Invalid token: it names no subject")
        return caller(owner_of(subject), _scopes(claims))

    def _claims(self, token: str) -> dict[str, Any]:
        if len(token) > _LONGEST_TOKEN:
            raise Unauthorized("Invalid token: it is too long")
        if _SIGNED.fullmatch(token) is None:
            raise Unauthorized("Invalid token: it is no signed JWT")
        import jwt

        try:
            header = jwt.get_unverified_header(token)
            key = self.keys.key(str(header.get("kid", "")))
            if key is None or header.get("alg") != key.algorithm_name:
                raise Unauthorized("Invalid token: it is not signed by a key of the issuer")
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[key.algorithm_name],
                audience=self.audience,
                issuer=self.issuer,
                leeway=self.leeway_s,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
        except jwt.PyJWTError as exc:
            raise Unauthorized(f"Invalid token: {_reason(exc)}") from exc
        return claims


def owner_of(subject: str) -> str:
    """The owner that a token's subject is: itself where it can be one, else a hash of it.

    No two subjects are one owner: one that looks like such a hash is hashed, too.
    """
    if OWNER.fullmatch(subject) and not subject.startswith(_HASHED):
        return subject
    return _HASHED + hashlib.sha256(subject.encode()).hexdigest()[:_HASH_DIGITS]


def _scopes(claims: Mapping[str, Any]) -> list[str]:
    """The scopes of a token: ``scope`` (RFC 8693), or ``scp`` as some issuers write."""
    given = claims.get("scope", claims.get("scp", ""))
    names = given.split() if isinstance(given, str) else given
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


def _reason(error: Exception) -> str:
    import jwt

    for kind, words in (
        (jwt.ExpiredSignatureError, "it has expired"),
        (jwt.ImmatureSignatureError, "it is not valid yet"),
        (jwt.InvalidAudienceError, "it is for somebody else"),
        (jwt.InvalidIssuerError, "it is of another issuer"),
        (jwt.MissingRequiredClaimError, "it lacks a claim"),
        (jwt.InvalidSignatureError, "its signature is not good"),
    ):
        if isinstance(error, kind):
            return words
    return "it cannot be read"
