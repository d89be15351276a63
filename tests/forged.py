"""Tokens that nobody may be let in by, by what is wrong with them."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.issuer import LEEWAY_S, Issuer


def _text(value: dict[str, Any] | bytes) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def by_hand(header: dict[str, Any], claims: dict[str, Any], *, secret: bytes | None) -> str:
    """A token that no library would make."""
    signed = f"{_text(header)}.{_text(claims)}"
    if secret is None:
        return f"{signed}."
    return f"{signed}.{_text(hmac.new(secret, signed.encode(), hashlib.sha256).digest())}"


def tampered(issuer: Issuer) -> str:
    """A good signature under other claims."""
    head, _, signature = issuer.token("rsa").split(".")
    return f"{head}.{_text(issuer.claims(sub='eve', scope='admin'))}.{signature}"


def confused(issuer: Issuer) -> str:
    """HMAC with the public key as its secret, which a careless verifier takes."""
    header = {"alg": "HS256", "typ": "JWT", "kid": "rsa"}
    return by_hand(header, issuer.claims(), secret=issuer.public_pem("rsa"))


def unsigned(alg: str) -> Callable[[Issuer], str]:
    def make(issuer: Issuer) -> str:
        return by_hand({"alg": alg, "typ": "JWT", "kid": "rsa"}, issuer.claims(), secret=None)

    return make


def brought_along(issuer: Issuer) -> str:
    """Signed by a key of the forger's own, which the header offers."""
    own = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    offered = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(own.public_key()))
    headers = {"kid": "rsa", "jwk": offered, "jku": "https://eve.example.org/keys"}
    return jwt.encode(issuer.claims(), own, algorithm="RS256", headers=headers)


def _claim(**changes: Any) -> Callable[[Issuer], str]:
    return lambda issuer: issuer.token("rsa", **changes)


def _ago(seconds: float) -> int:
    return int(time.time() - seconds)


FORGED: dict[str, Callable[[Issuer], str]] = {
    "expired": lambda issuer: issuer.token("rsa", exp=_ago(LEEWAY_S + 5)),
    "not yet valid": lambda issuer: issuer.token("rsa", nbf=_ago(-LEEWAY_S - 60)),
    "issued in the future": lambda issuer: issuer.token("rsa", iat=_ago(-LEEWAY_S - 60)),
    "wrong audience": _claim(aud="somebody-else"),
    "no audience": _claim(aud=None),
    "wrong issuer": _claim(iss="https://eve.example.org/"),
    "no issuer": _claim(iss=None),
    "no expiry": _claim(exp=None),
    "no subject": _claim(sub=None),
    "empty subject": _claim(sub=""),
    "unknown kid": lambda issuer: issuer.token("rsa", headers={"kid": "other"}),
    "another key's kid": lambda issuer: issuer.token("rsa", headers={"kid": "ec"}),
    "tampered": tampered,
    "alg confusion": confused,
    "alg none": unsigned("none"),
    "alg NoNe": unsigned("NoNe"),
    "a key brought along": brought_along,
    "critical extension": lambda issuer: issuer.token("rsa", headers={"crit": ["x"], "x": 1}),
    "nothing": lambda _: "",
    "no token": lambda _: "nonsense",
    "dots": lambda _: "..",
    "too long": lambda issuer: issuer.token("rsa", padding="x" * 20_000),
}
