"""An OpenID Connect issuer: its keys, the tokens it makes, and those that others forge."""

import json
import time
from dataclasses import dataclass, field
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

ISSUER = "https://issuer.example.org/"
AUDIENCE = "clearstem"
LEEWAY_S = 60


@dataclass
class Issuer:
    """Keys by id; a set of them is published.

    Attributes
    ----------
    fetches : int
        How often the set was asked for.
    down : bool
        Whether nothing is answered.
    """

    keys: dict[str, Any] = field(default_factory=dict)
    fetches: int = 0
    down: bool = False

    def rsa(self, key_id: str) -> None:
        self.keys[key_id] = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    def ec(self, key_id: str) -> None:
        self.keys[key_id] = ec.generate_private_key(ec.SECP256R1())

    def document(self) -> bytes:
        """The published set."""
        self.fetches += 1
        if self.down:
            raise OSError("no answer")
        return json.dumps({"keys": [self._published(key_id) for key_id in self.keys]}).encode()

    def token(self, key_id: str, *, headers: dict[str, Any] | None = None, **claims: Any) -> str:
        """A token that is good but for what is said otherwise; None leaves a claim out."""
        key = self.keys[key_id]
        algorithm = "RS256" if isinstance(key, rsa.RSAPrivateKey) else "ES256"
        named = {"kid": key_id, **(headers or {})}
        return jwt.encode(self.claims(**claims), key, algorithm=algorithm, headers=named)

    def claims(self, **changes: Any) -> dict[str, Any]:
        now = int(time.time())
        usual = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": "ada",
            "iat": now,
            "exp": now + 600,
            "scope": "jobs:read jobs:write",
        }
        return {name: value for name, value in {**usual, **changes}.items() if value is not None}

    def public_pem(self, key_id: str) -> bytes:
        """What a forger knows."""
        public = self.keys[key_id].public_key()
        return public.public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    def _published(self, key_id: str) -> dict[str, Any]:
        key = self.keys[key_id]
        kind = jwt.algorithms.RSAAlgorithm if isinstance(key, rsa.RSAPrivateKey) else None
        kind = kind or jwt.algorithms.ECAlgorithm
        return {**json.loads(kind.to_jwk(key.public_key())), "kid": key_id, "use": "sig"}
