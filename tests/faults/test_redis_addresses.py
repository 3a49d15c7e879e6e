"""TLS, an ACL user and Sentinels with real servers; and no password anywhere a person can look.

The certificates are made for the test by the `openssl` program.
"""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from engine.kernel.status import status_json
from engine.model.config import RedisSection
from engine.model.events import LinkChanged
from engine.runtime import SystemClock
from tests.desk import Desk
from tests.faults.conftest import StartServer
from tests.faults.link_desk import LinkDesk, link_desk, read_stream
from tests.real_redis import RealRedis, find_redis_server, free_port
from tests.waiting import eventually

_SECRET = "hunter2-not-to-be-seen"
_CUT = "the connection was closed"
pytestmark = [
    pytest.mark.timeout(60),
    pytest.mark.allow_log("Redis is away|Redis stream:"),
]
needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl program")


def _openssl(folder: Path, *words: str) -> None:
    subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)


def _authority(folder: Path, name: str) -> Path:
    subject = ("-subj", f"/CN={name}", "-days", "2", "-nodes")
    _openssl(
        folder,
        *("req", "-x509", "-newkey", "rsa:2048", *subject),
        *("-keyout", f"{name}.key", "-out", f"{name}.pem"),
    )
    return folder / f"{name}.pem"


def _certificate(folder: Path, *, authority: str, host: str) -> tuple[str, ...]:
    """A server's options for a certificate of `host`, signed by `authority`."""
    (folder / "names.txt").write_text(f"subjectAltName={host}\n")
    _openssl(
        folder,
        *("req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=redis"),
        *("-keyout", "server.key", "-out", "server.csr"),
    )
    _openssl(
        folder,
        *("x509", "-req", "-in", "server.csr", "-days", "2", "-CAcreateserial"),
        *("-CA", f"{authority}.pem", "-CAkey", f"{authority}.key"),
        *("-extfile", "names.txt", "-out", "server.pem"),
    )
    return (
        *("--tls-cert-file", str(folder / "server.pem")),
        *("--tls-key-file", str(folder / "server.key")),
        *("--tls-ca-cert-file", str(folder / f"{authority}.pem")),
        *("--tls-auth-clients", "no"),
    )


def _causes(desk: LinkDesk) -> list[str]:
    return [change.cause for change in desk.heard_of(LinkChanged) if change.state == "down"]


@needs_openssl
async def test_tls_with_an_acl_user_over_an_outage(
    tmp_path: Path, start_server: StartServer
) -> None:
    ca_file = _authority(tmp_path, "ours")
    port = free_port()
    server = start_server(
        *_certificate(tmp_path, authority="ours", host="IP:127.0.0.1"),
        *("--tls-port", str(port), "--user", "engine", "on", f">{_SECRET}", "~*", "+@all"),
    )
    section = RedisSection(
        mode="url", url=f"rediss://engine:{_SECRET}@127.0.0.1:{port}/0", ca_file=str(ca_file)
    )
    async with link_desk(tmp_path / "state.db", section=section) as desk:
        await desk.write(200)
        await eventually(desk.is_caught_up, timeout_s=10)
        server.restart()
        await desk.write(200)
        await eventually(desk.outage_is_over, timeout_s=10)
        desk.assert_mirrored(read_stream(server.url))


@needs_openssl
@pytest.mark.parametrize(
    ("authority", "host", "words"),
    [
        ("theirs", "IP:127.0.0.1", "TLS: the server's certificate is not trusted"),
        ("ours", "DNS:elsewhere.example", "TLS: the server's certificate is not trusted (IP addr"),
    ],
    ids=["unknown authority", "another host"],
)
async def test_a_certificate_that_is_not_the_servers_is_refused(
    tmp_path: Path, start_server: StartServer, authority: str, host: str, words: str
) -> None:
    ca_file = _authority(tmp_path, "ours")
    _authority(tmp_path, "theirs")
    port = free_port()
    start_server(*_certificate(tmp_path, authority=authority, host=host), "--tls-port", str(port))
    section = RedisSection(mode="url", url=f"rediss://127.0.0.1:{port}", ca_file=str(ca_file))
    async with link_desk(tmp_path / "state.db", section=section) as desk:
        assert desk.link.snapshot().cause.startswith(words)
        assert not desk.link.is_up()


@needs_openssl
async def test_mistakes_with_tls_have_words(tmp_path: Path, start_server: StartServer) -> None:
    port = free_port()
    start_server("--port", str(port))
    ca_file = _authority(tmp_path, "ours")
    url = f"rediss://127.0.0.1:{port}"
    (tmp_path / "empty.pem").write_text("")
    for file, words in (
        (ca_file, "no answer in time"),  # It waits for the end of what to it is a command.
        (tmp_path / "missing.pem", f"redis.ca_file {tmp_path}/missing.pem cannot be used"),
        (tmp_path / "empty.pem", f"redis.ca_file {tmp_path}/empty.pem cannot be used"),
    ):
        section = RedisSection(mode="url", url=url, ca_file=str(file))
        async with link_desk(tmp_path / f"{file.stem}.db", section=section) as desk:
            assert words in desk.link.snapshot().cause


@contextmanager
def _sentinel(folder: Path, master_port: int) -> Iterator[int]:
    """A real Sentinel that watches one master; its port."""
    binary = find_redis_server()
    assert binary is not None
    port = free_port()
    configuration = folder / "sentinel.conf"
    configuration.write_text(
        f"port {port}\nbind 127.0.0.1\ndir {folder}\n"
        f"sentinel monitor mine 127.0.0.1 {master_port} 1\n"
        "sentinel down-after-milliseconds mine 500\n"
        "sentinel failover-timeout mine 2000\n"
    )
    with (folder / "sentinel.log").open("wb") as log:
        process = subprocess.Popen(
            [binary, str(configuration), "--sentinel"], stdout=log, stderr=log
        )
    try:
        yield port
    finally:
        process.kill()
        process.wait()


async def test_a_sentinel_names_the_new_master_after_the_old_one_was_killed(
    tmp_path: Path, start_server: StartServer
) -> None:
    master_port, replica_port, dead_port = free_port(), free_port(), free_port()
    without = ("--repl-diskless-sync-delay", "0")
    master = start_server("--port", str(master_port), *without)
    replica = start_server(
        "--port", str(replica_port), "--replicaof", "127.0.0.1", str(master_port), *without
    )
    with _sentinel(tmp_path, master_port) as port:
        hosts = f"127.0.0.1:{dead_port},127.0.0.1:{port}"  # The first Sentinel is not there.
        url = f"redis+sentinel://{hosts}/mine"
        async with link_desk(tmp_path / "state.db", url=url) as desk:
            await eventually(desk.link.is_up, timeout_s=10)
            await desk.write(300)
            await eventually(lambda: len(read_stream(replica.url)) >= 300, timeout_s=10)
            await eventually(lambda: _knows_replica(port), timeout_s=20)
            master.kill()
            await desk.write(300)
            await eventually(desk.outage_is_over, timeout_s=25)
            desk.assert_mirrored(read_stream(replica.url))
    assert _causes(desk)


def _knows_replica(port: int) -> bool:
    with redis.Redis(port=port, decode_responses=True) as client:
        found = client.execute_command("SENTINEL", "REPLICAS", "mine")
        return bool(found) and "master-link-status" in str(found) and "'ok'" in str(found)


async def test_sentinels_that_do_not_help_have_words(tmp_path: Path) -> None:
    if find_redis_server() is None:
        pytest.skip("no redis-server or valkey-server here; packaging/test.py installs one")
    with _sentinel(tmp_path, free_port()) as port:

        def is_listening() -> bool:
            try:
                redis.Redis(port=port).ping()
            except redis.ConnectionError:
                return False
            return True

        await eventually(is_listening)
        for url, words in (
            (f"redis+sentinel://127.0.0.1:{port}/other", "knows no master named 'other'"),
            (f"redis+sentinel://127.0.0.1:{free_port()}/mine", "nothing listens at its address"),
        ):
            async with link_desk(tmp_path / f"{len(words)}.db", url=url) as desk:
                assert words in desk.link.snapshot().cause


async def test_no_password_is_seen_anywhere(
    tmp_path: Path, redis_server: RealRedis, caplog: pytest.LogCaptureFixture
) -> None:
    """Logs at their most talkative, causes, alarms, status, reprs, and every file we wrote."""
    caplog.set_level(logging.DEBUG)
    desk = Desk(
        clock=SystemClock(),
        folder=tmp_path,
        redis_url=f"unix://engine:{_SECRET}@{redis_server.socket_path}",
    )
    redis_server.command("ACL", "SETUSER", "engine", "on", f">{_SECRET}", "~*", "+@all")
    await desk.open()
    client = desk.kernel.client
    shown = []
    await eventually(lambda: client.snapshot().redis.state.value == "up")
    for sicken in (
        ("ACL", "SETUSER", "engine", "resetpass", ">another"),
        ("ACL", "SETUSER", "engine", f">{_SECRET}", "-set"),
    ):
        before = client.snapshot().redis.cause
        redis_server.command(*sicken)
        redis_server.command("CLIENT", "KILL", "USER", "engine")
        await eventually(
            lambda before=before: client.snapshot().redis.cause not in {before, _CUT}, timeout_s=15
        )
        await eventually(lambda: client.snapshot().redis.state.value == "down")
        await eventually(
            lambda: any(alarm.code == "REDIS_DOWN" for alarm in client.snapshot().alarms),
            timeout_s=8,
        )
        shown.append(json.dumps(status_json(client.snapshot(), running=True, safeguards={})))
        shown.append(repr(client.snapshot()))
    shown.append(repr(desk.kernel.parts.options))
    shown.append(repr(desk.kernel.parts.redis._settings))
    await desk.close()
    assert "the server refuses our user name or password" in "".join(shown)
    assert not [text for text in shown if _SECRET in text]
    assert _SECRET not in caplog.text
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.name == "state.db" for path in files)
    assert not [path for path in files if _SECRET.encode() in path.read_bytes()]


async def test_a_server_that_quotes_what_it_was_sent_is_not_quoted(
    tmp_path: Path, start_server: StartServer
) -> None:
    """One without AUTH answers: unknown command 'AUTH', with args beginning with: the password."""
    settings = tmp_path / "redis.conf"
    settings.write_text('rename-command AUTH ""\nrename-command HELLO ""\n')
    server = start_server("--include", str(settings))
    url = f"unix://engine:{_SECRET}@{server.socket_path}"
    async with link_desk(tmp_path / "state.db", url=url) as desk:
        assert not desk.link.is_up()
        assert "unknown command" in desk.link.snapshot().cause
        assert "***" in desk.link.snapshot().cause
        assert _SECRET not in desk.link.snapshot().cause
