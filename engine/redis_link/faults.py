"""What can go wrong on the way to Redis, and how a person is told.

`LINK_FAULTS` end a session and are expected; anything else is a programmer's error and goes to the
task guard. Every kind of sick server has a sentence of its own, because each is put right in
another way. What a server says itself is quoted only where it helps; the link strikes the password
out of it.
"""

from __future__ import annotations

import json
import ssl

import redis.exceptions

from engine.model.errors import EngineError, StoreError


class LinkFault(EngineError):
    """The link cannot work now, for a reason that is already in plain words."""


class NameInUse(LinkFault):
    """Another engine holds the lease of this node's name."""


def name_in_use(node: str, lease: bytes) -> NameInUse:
    """What a person reads whose engine was refused; `lease` is the one that is held."""
    try:
        held = json.loads(lease)
        owner, process = str(held["owner"]), str(held["session"]).partition("-")[0]
    except (ValueError, KeyError, TypeError):
        owner, process = "unknown", "unknown"
    return NameInUse(
        f"the node name {node!r} is in use by another engine ({owner}, process {process});"
        " end that one, or give this one another name in [node]"
    )


LINK_FAULTS = (
    LinkFault,
    StoreError,
    redis.exceptions.RedisError,
    OSError,
    TimeoutError,
)

_CLUSTER = "the server belongs to a cluster, which is not supported; it must be a single master"
# What a server begins its refusal with. It says something of the server, not of the event.
_WORDS_OF_REFUSAL = {
    "OOM": "the server's memory is full (maxmemory) and it refuses to write",
    "LOADING": "the server is still loading its data",
    "READONLY": "the server is a read-only replica and refuses to write; the master is wanted",
    "MISCONF": "the server cannot save to its disk and refuses to write",
    "NOREPLICAS": "the server has too few replicas and refuses to write",
    "MASTERDOWN": "the server is a replica that has lost its master",
    "CLUSTERDOWN": f"{_CLUSTER} (it is down)",
    "CROSSSLOT": f"{_CLUSTER} (keys in different slots)",
    "MOVED": f"{_CLUSTER} (the key is on another server)",
    "ASK": f"{_CLUSTER} (the key is moving to another server)",
    "TRYAGAIN": f"{_CLUSTER} (the keys are moving to another server)",
    "WRONGPASS": "the server refuses our user name or password",
    "NOAUTH": "the server wants a password and none is configured",
    "NOPERM": "the server does not permit our user what the engine needs",
    "WRONGTYPE": "a key of ours holds something of another kind",
    "UNBLOCKED": "the server has changed its role; it may be a replica now",
    "BUSY": "the server is busy with somebody's script",
}
# redis-py takes the first word off and makes it a class.
_WORD_OF_CLASS: tuple[tuple[type[Exception], str], ...] = (
    (redis.exceptions.OutOfMemoryError, "OOM"),
    (redis.exceptions.BusyLoadingError, "LOADING"),
    (redis.exceptions.ReadOnlyError, "READONLY"),
    (redis.exceptions.NoPermissionError, "NOPERM"),
    (redis.exceptions.MovedError, "MOVED"),
    (redis.exceptions.AskError, "ASK"),
    (redis.exceptions.TryAgainError, "TRYAGAIN"),
    (redis.exceptions.ClusterCrossSlotError, "CROSSSLOT"),
    (redis.exceptions.MasterDownError, "MASTERDOWN"),
    (redis.exceptions.ClusterDownError, "CLUSTERDOWN"),
)
# Their own words are worth quoting: they name the command, the key or the file.
_QUOTED = {"NOPERM", "WRONGTYPE", "MISCONF"}
_IN_SCRIPT = (
    ("user executing the script can't", "NOPERM"),  # Redis before 7.2.
    ("No permissions to access a key", "NOPERM"),
    ("different slot", "CROSSSLOT"),
)
_DETAIL_MAX = 160


def was_cut(error: BaseException) -> bool:
    """Whether the other side closed the connection, as Redis does on a command it will not read."""
    if isinstance(error, redis.exceptions.ResponseError):
        return "Protocol error" in str(error)
    if _refusal(error):
        return False
    return isinstance(error, redis.exceptions.ConnectionError | ConnectionError)


def is_loading(error: BaseException) -> bool:
    """Whether the server is there and will answer when it has read its data."""
    return _refusal(error) == "LOADING"


def refusal_words(text: str) -> str:
    """The sentence for an error that a script handed through; empty when it is about the event."""
    word = _word_of_text(text)
    return _sentence(word, text) if word else ""


def cause_of(error: BaseException) -> str:
    """The fault in words for the console."""
    if isinstance(error, LinkFault | StoreError):
        return str(error)
    if word := _refusal(error):
        return _sentence(word, str(error))
    if isinstance(error, redis.exceptions.TimeoutError | TimeoutError):
        return "no answer in time: the server is frozen or paused, or the network is cut"
    if any(isinstance(one, redis.exceptions.InvalidResponse) for one in _chain(error)):
        return "what answers at its address does not speak the Redis protocol"
    if isinstance(error, redis.exceptions.ConnectionError | OSError):
        return _cause_of_connection(error)
    return f"Redis answered: {str(error)[:_DETAIL_MAX]}"


def _cause_of_connection(error: BaseException) -> str:
    chain = _chain(error)
    text = " ".join(str(one) for one in chain)
    for one in chain:
        if isinstance(one, redis.exceptions.ResponseError):  # Refused while connecting.
            return f"Redis answered: {str(one)[:_DETAIL_MAX]}"
        if isinstance(one, ssl.SSLCertVerificationError):
            return f"TLS: the server's certificate is not trusted ({one.verify_message})"
        if isinstance(one, ssl.SSLError):
            return f"TLS: no secure connection ({one.reason or 'not TLS'}); is the port a TLS port?"
        if isinstance(one, ConnectionRefusedError | FileNotFoundError):
            return "nothing listens at its address"
        if isinstance(one, PermissionError):
            return "the system does not permit us to open its socket"
    if "max number of clients" in text:
        return "the server takes no more clients (maxclients)"
    if "protected mode" in text:
        return "the server is in protected mode and takes nobody in from another machine"
    if "Name or service not known" in text or "name resolution" in text or "nodename" in text:
        return "its host name is not known"
    return "the connection was closed"


def _chain(error: BaseException) -> list[BaseException]:
    chain: list[BaseException] = []
    following: BaseException | None = error
    while following is not None and following not in chain:
        chain.append(following)
        following = following.__cause__ or following.__context__
    return chain


def _refusal(error: BaseException) -> str:
    """The word that a server began its refusal with, by class or by text.

    What is refused while connecting comes wrapped in a ConnectionError.
    """
    return next((word for one in _chain(error) if (word := _refusal_of_one(one))), "")


def _refusal_of_one(error: BaseException) -> str:
    if isinstance(error, redis.exceptions.AuthenticationError):
        # Redis' text for a user without a password is "Authentication required."
        return "NOAUTH" if "required" in str(error) else "WRONGPASS"
    for kind, word in _WORD_OF_CLASS:
        if isinstance(error, kind):
            return word
    if isinstance(error, redis.exceptions.ResponseError):
        return _word_of_text(str(error))
    return ""


def _word_of_text(text: str) -> str:
    first = text.removeprefix("-").partition(" ")[0]
    if first in _WORDS_OF_REFUSAL:
        return first
    return next((word for part, word in _IN_SCRIPT if part in text), "")


def _sentence(word: str, text: str) -> str:
    words = _WORDS_OF_REFUSAL[word]
    if word in _QUOTED:
        detail = text.removeprefix("-").removeprefix(f"{word} ").partition(" script: ")[0]
        return f"{words}: {detail[:_DETAIL_MAX]}"
    return words


__all__ = [
    "LINK_FAULTS",
    "LinkFault",
    "NameInUse",
    "cause_of",
    "is_loading",
    "name_in_use",
    "refusal_words",
    "was_cut",
]
