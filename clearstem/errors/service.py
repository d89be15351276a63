"""What the service, or somebody it asks, cannot do now."""

from clearstem.errors.root import ClearstemError


class NotOffered(ClearstemError):
    """Something that this deployment cannot do; the message says what can be done instead."""

    http_status = 501


class EngineUnavailable(ClearstemError):
    """The engine asked for cannot run here; the message says what is missing."""

    http_status = 503
    state_name = "Clearstem.EngineUnavailable"


class Contention(ClearstemError):
    """A record changed under every attempt to write it."""

    http_status = 503
    state_name = "Clearstem.Contention"


class BackendUnavailable(ClearstemError):
    """AWS did not answer, or not as it should, in the middle of a task; it may be tried again."""

    http_status = 503
    state_name = "Clearstem.BackendUnavailable"


class IssuerUnavailable(ClearstemError):
    """The issuer of tokens does not give the keys that they are verified by."""

    http_status = 503
    state_name = "Clearstem.IssuerUnavailable"


class UrlFailed(ClearstemError):
    """A user's address answered, but not as it should; asking again would not help.

    The message says what it answered and never repeats the address, whose query
    may be a signature.
    """

    http_status = 502
    state_name = "Clearstem.UrlFailed"


class UrlUnreachable(UrlFailed):
    """A user's address did not answer, broke off, or said that it cannot now."""

    state_name = "Clearstem.UrlUnreachable"
