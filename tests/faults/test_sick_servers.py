"""Every kind of sick server has words of its own, and is recovered from when it is relieved.

Real servers, made sick by their own means. Each test demands in the end what every test of the
link does: every durable event exactly once and in order, against a list kept outside the engine.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import redis

from engine.model.events import LinkChanged, RedisLost
from engine.model.redis_url import parse_redis_url
from engine.redis_link.connection import make_client
from engine.redis_link.faults import LINK_FAULTS, cause_of
from engine.redis_link.node_stream import Command
from tests.faults.conftest import StartServer
from tests.faults.link_desk import LinkDesk, link_desk, read_stream
from tests.real_redis import RealRedis, free_port
from tests.waiting import eventually

pytestmark = [
    pytest.mark.timeout(60),
    pytest.mark.allow_log("Redis is away|Redis stream:"),
]


class Sickness(NamedTuple):
    """How a server is made sick and well again, by commands; what a person reads meanwhile."""

    words: str
    sicken: tuple[tuple[str, ...], ...]
    relieve: tuple[tuple[str, ...], ...]


_SICKNESSES = {
    "out of memory": Sickness(
        "the server's memory is full (maxmemory) and it refuses to write",
        (("CONFIG", "SET", "maxmemory", "1"),),
        (("CONFIG", "SET", "maxmemory", "0"),),
    ),
    "read-only replica": Sickness(
        "the server is a read-only replica and refuses to write; the master is wanted",
        (("REPLICAOF", "127.0.0.1", "1"),),
        (("REPLICAOF", "NO", "ONE"),),
    ),
    "replica without master": Sickness(
        "the server is a replica that has lost its master",
        (("CONFIG", "SET", "replica-serve-stale-data", "no"), ("REPLICAOF", "127.0.0.1", "1")),
        (("REPLICAOF", "NO", "ONE"),),
    ),
    "too few replicas": Sickness(
        "the server has too few replicas and refuses to write",
        (("CONFIG", "SET", "min-replicas-to-write", "1"),),
        (("CONFIG", "SET", "min-replicas-to-write", "0"),),
    ),
    "a command not permitted": Sickness(
        "the server does not permit our user what the engine needs",
        (("ACL", "SETUSER", "default", "-set"),),
        (("ACL", "SETUSER", "default", "+@all"),),
    ),
    "keys not permitted": Sickness(
        "the server does not permit our user what the engine needs",
        (("ACL", "SETUSER", "default", "resetkeys", "~other:*"),),
        (("ACL", "SETUSER", "default", "allkeys"),),
    ),
    "paused": Sickness(
        "no answer in time: the server is frozen or paused, or the network is cut",
        (("CLIENT", "PAUSE", "2500", "ALL"),),
        (),
    ),
    "writes paused": Sickness(
        "no answer in time: the server is frozen or paused, or the network is cut",
        (("CLIENT", "PAUSE", "2500", "WRITE"),),
        (),
    ),
    "connections killed": Sickness(
        "the connection was closed", (("CLIENT", "KILL", "TYPE", "normal"),), ()
    ),
    "no more clients": Sickness(
        "the server takes no more clients (maxclients)",
        (("CONFIG", "SET", "maxclients", "1"), ("CLIENT", "KILL", "TYPE", "normal")),
        (("CONFIG", "SET", "maxclients", "100"),),
    ),
}


def _causes(desk: LinkDesk) -> list[str]:
    return [change.cause for change in desk.heard_of(LinkChanged) if change.state == "down"]


async def _sicken_and_relieve(
    desk: LinkDesk,
    server: RealRedis,
    words: str,
    sicken: Callable[[], object],
    relieve: Callable[[], object],
) -> None:
    """Make it sick under flowing events, read the words, relieve it, and compare the books."""
    stop = asyncio.Event()

    async def flow() -> None:
        while not stop.is_set():
            await desk.write(5)
            await asyncio.sleep(0.01)

    writing = asyncio.ensure_future(flow())
    try:
        await eventually(lambda: desk.link.snapshot().replayed > 50)
        sicken()
        try:
            await eventually(
                lambda: any(cause.startswith(words) for cause in _causes(desk)), timeout_s=10
            )
        except AssertionError:
            raise AssertionError(f"said {_causes(desk)}") from None
        assert desk.heard_of(RedisLost)
        await desk.write(50)
        relieve()
        await eventually(desk.link.is_up, timeout_s=10)
    finally:
        stop.set()
        await writing
    await eventually(desk.outage_is_over, timeout_s=10)
    desk.assert_mirrored(read_stream(server.url))


@pytest.mark.parametrize("name", _SICKNESSES)
async def test_it_has_its_own_words_and_is_recovered_from(
    name: str, tmp_path: Path, redis_server: RealRedis
) -> None:
    sickness = _SICKNESSES[name]
    # A connection made before, as a new one may be refused.
    operator: Any = redis.Redis.from_url(redis_server.url)

    def run(commands: tuple[tuple[str, ...], ...]) -> None:
        for command in commands:
            operator.execute_command(*command)

    async with link_desk(tmp_path / "state.db", url=redis_server.url) as desk:
        run((("PING",),))
        await _sicken_and_relieve(
            desk,
            redis_server,
            sickness.words,
            lambda: run(sickness.sicken),
            lambda: run(sickness.relieve),
        )
    operator.close()


@pytest.mark.parametrize("way", ["unix", "tcp"])
async def test_a_full_server_is_named_at_every_attempt(way: str, start_server: StartServer) -> None:
    """Goal: never `the connection was closed`. It speaks and closes while we still write."""
    port = free_port()
    server = start_server("--port", str(port), "--maxclients", "1")
    url = server.url if way == "unix" else f"redis://127.0.0.1:{port}"
    operator: Any = redis.Redis.from_url(server.url)
    operator.ping()
    causes = set()
    for _ in range(100):
        client = make_client(parse_redis_url(url), "")
        get: Command = client.execute_command
        with pytest.raises(LINK_FAULTS) as refused:
            await get("GET", "x")
        causes.add(cause_of(refused.value))
        await client.connection_pool.disconnect()
    operator.close()
    assert causes == {"the server takes no more clients (maxclients)"}


async def test_what_a_server_says_before_it_closes_at_once_is_read(tmp_path: Path) -> None:
    async def refuse(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"-DENIED Redis is running in protected mode because protected mode is\r\n")
        writer.close()

    server = await asyncio.start_unix_server(refuse, tmp_path / "s")
    try:
        url = f"unix://{tmp_path / 's'}"
        async with link_desk(tmp_path / "state.db", url=url) as desk:
            assert desk.link.snapshot().cause == (
                "the server is in protected mode and takes nobody in from another machine"
            )
    finally:
        server.close()


async def test_frozen_is_said_and_then_nothing_listens(
    tmp_path: Path, redis_server: RealRedis
) -> None:
    async with link_desk(tmp_path / "state.db", url=redis_server.url) as desk:
        await _sicken_and_relieve(
            desk, redis_server, "no answer in time", redis_server.freeze, redis_server.thaw
        )
        redis_server.kill()
        await eventually(lambda: "nothing listens at its address" in _causes(desk))
        redis_server.start()
        await eventually(desk.is_caught_up, timeout_s=10)
        desk.assert_mirrored(read_stream(redis_server.url))


async def test_a_password_is_demanded_of_us_who_have_none(
    tmp_path: Path, redis_server: RealRedis
) -> None:
    operator: Any = redis.Redis.from_url(redis_server.url)
    async with link_desk(tmp_path / "state.db", url=redis_server.url) as desk:

        def sicken() -> None:
            operator.ping()
            operator.config_set("requirepass", "new")
            operator.client_kill_filter(_type="normal", skipme=True)

        await _sicken_and_relieve(
            desk,
            redis_server,
            "the server wants a password and none is configured",
            sicken,
            lambda: operator.config_set("requirepass", ""),
        )
    operator.close()


async def test_a_wrong_password_is_refused_until_it_is_the_right_one(
    tmp_path: Path, start_server: StartServer
) -> None:
    server = start_server("--requirepass", "right")
    url = f"unix://:wrong@{server.socket_path}"
    async with link_desk(tmp_path / "state.db", url=url) as desk:
        words = "the server refuses our user name or password"
        assert (desk.link.snapshot().cause, desk.link.is_up()) == (words, False)
        await desk.write(100)
        operator: Any = redis.Redis.from_url(server.url, password="right")
        operator.config_set("requirepass", "wrong")
        operator.close()
        await eventually(desk.outage_is_over, timeout_s=10)
        desk.assert_mirrored(read_stream(url))


async def test_a_user_of_an_acl_file_with_just_enough_rights(
    tmp_path: Path, start_server: StartServer
) -> None:
    rights = (
        "+ping +info +eval +evalsha +time +get +set +hset"
        " +xinfo +xadd +xread +xrange +xrevrange +xtrim"
    )
    users = tmp_path / "users.acl"
    users.write_text(
        f"user default off\nuser engine on >secret ~seawall:* {rights}\n"
        "user boss on >boss ~* +@all\n"
    )
    server = start_server("--aclfile", str(users))
    boss = f"unix://boss:boss@{server.socket_path}"
    url = f"unix://engine:secret@{server.socket_path}"
    async with link_desk(tmp_path / "state.db", url=url) as desk:
        await desk.write(100)
        await eventually(desk.is_caught_up)
        assert not desk.heard_of(RedisLost)
        operator: Any = redis.Redis.from_url(boss)
        operator.execute_command("ACL", "SETUSER", "engine", "off")
        operator.client_kill_filter(_type="normal", skipme=True)
        await eventually(
            lambda: "the server refuses our user name or password" in _causes(desk), timeout_s=5
        )
        operator.execute_command("ACL", "SETUSER", "engine", "on")
        operator.close()
        await eventually(desk.outage_is_over, timeout_s=10)
        desk.assert_mirrored(read_stream(boss))


async def test_a_server_that_is_loading_is_waited_for(
    tmp_path: Path, start_server: StartServer
) -> None:
    server = start_server(
        *("--save", "3600", "1", "--loading-process-events-interval-bytes", "1024")
    )
    operator: Any = redis.Redis.from_url(server.url)
    operator.mset({f"other:{number}": "x" * 100 for number in range(400)})
    async with link_desk(tmp_path / "state.db", url=server.url) as desk:
        await desk.write(100)
        await eventually(desk.is_caught_up)
        operator.execute_command("SAVE")
        operator.close()
        server.kill()
        await desk.write(50)
        server.start("--key-load-delay", "4000")
        words = "the server is still loading its data"
        await eventually(lambda: words in _causes(desk), timeout_s=5)
        await eventually(desk.outage_is_over, timeout_s=15)
        desk.assert_mirrored(read_stream(server.url))


async def test_a_server_that_cannot_save_to_its_disk(
    tmp_path: Path, start_server: StartServer
) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    server = start_server("--save", "3600", "100000", "--dir", str(folder))
    operator: Any = redis.Redis.from_url(server.url)

    def sicken() -> None:
        shutil.rmtree(folder)
        operator.bgsave()

    async with link_desk(tmp_path / "state.db", url=server.url) as desk:
        await _sicken_and_relieve(
            desk,
            server,
            "the server cannot save to its disk and refuses to write",
            sicken,
            lambda: operator.config_set("stop-writes-on-bgsave-error", "no"),
        )
    operator.close()


async def test_a_server_busy_with_the_script_of_somebody_else(
    tmp_path: Path, start_server: StartServer
) -> None:
    server = start_server("--lua-time-limit", "100")
    async with link_desk(tmp_path / "state.db", url=server.url) as desk:
        await desk.write(10)
        await eventually(desk.is_caught_up)
        other: Any = redis.Redis.from_url(server.url, socket_timeout=0.1)

        def hang() -> None:
            with pytest.raises(redis.TimeoutError):
                other.eval("while true do end", 0)

        await _sicken_and_relieve(
            desk,
            server,
            "the server is busy with somebody's script",
            hang,
            lambda: server.command("SCRIPT", "KILL"),
        )
        other.close()


async def test_a_member_of_a_cluster_is_refused_in_words(
    tmp_path: Path, start_server: StartServer
) -> None:
    # A cluster's own port is 10,000 above.
    port = next(port for port in iter(free_port, 0) if port < 50_000)
    server = start_server("--cluster-enabled", "yes", "--port", str(port))
    async with link_desk(tmp_path / "state.db", url=server.url) as desk:
        assert desk.link.snapshot().cause.endswith("it must be a single master (it is down)")
        server.command("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
        await eventually(
            lambda: any("keys in different slots" in cause for cause in _causes(desk)), timeout_s=10
        )
        assert not desk.link.is_up()
        assert desk.link.recovering


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("-MOVED 3999 127.0.0.1:6381", "(the key is on another server)"),
        ("-ASK 3999 127.0.0.1:6381", "(the key is moving to another server)"),
    ],
    ids=["moved", "ask"],
)
async def test_what_a_cluster_says_of_a_key_elsewhere(
    tmp_path: Path, answer: str, words: str
) -> None:
    assert words in await _cause_of_one_who_answers(tmp_path, f"{answer}\r\n".encode())


@pytest.mark.parametrize(
    "answer",
    [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x16\x03\x01\x00\x05hello", b"\x00" * 64],
    ids=["http", "tls", "zeros"],
)
async def test_what_does_not_speak_the_protocol_is_said_to(tmp_path: Path, answer: bytes) -> None:
    cause = await _cause_of_one_who_answers(tmp_path, answer)
    assert cause == "what answers at its address does not speak the Redis protocol"


async def _cause_of_one_who_answers(folder: Path, answer: bytes) -> str:
    """The link's cause when everything is answered with the same bytes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):  # The link hangs up on nonsense.
            while await reader.read(4096):
                writer.write(answer)
                await writer.drain()
        writer.close()

    path = folder / "s"
    server = await asyncio.start_unix_server(serve, path)
    try:
        async with link_desk(folder / "state.db", url=f"unix://{path}") as desk:
            assert not desk.link.is_up()
            return desk.link.snapshot().cause
    finally:
        server.close()


async def test_a_replica_is_promoted_that_had_not_received_everything(
    tmp_path: Path, start_server: StartServer
) -> None:
    """The address stays; behind it is now the former replica, which lost the newest writes."""
    port = free_port()
    master = start_server("--port", str(port), "--repl-diskless-sync-delay", "0")
    replica = start_server("--replicaof", "127.0.0.1", str(port))
    address = tmp_path / "redis"
    address.symlink_to(master.socket_path)
    async with link_desk(tmp_path / "state.db", url=f"unix://{address}") as desk:
        await desk.write(200)
        await eventually(lambda: len(read_stream(replica.url)) > 200, timeout_s=10)
        replica.freeze()
        await desk.write(200)  # Acknowledged by the master, never received by the replica.
        await eventually(desk.is_caught_up)
        master.kill()
        replica.thaw()
        replica.command("REPLICAOF", "NO", "ONE")
        address.unlink()
        address.symlink_to(replica.socket_path)
        await desk.write(50)
        await eventually(desk.outage_is_over, timeout_s=10)
        desk.assert_mirrored(read_stream(replica.url))


def test_a_wait_that_ended_with_the_masters_role_has_words() -> None:
    ended = redis.ResponseError("UNBLOCKED force unblock from blocking operation, instance state")
    assert cause_of(ended) == "the server has changed its role; it may be a replica now"


def test_words_never_need_a_password() -> None:
    refused = redis.AuthenticationError("invalid username-password pair or user is disabled.")
    assert cause_of(refused) == "the server refuses our user name or password"
