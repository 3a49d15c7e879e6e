"""The managed server: ours alone, restarted when it dies, gone when we are gone.

What a killed managed server held is lost by design (it has no persistence); everything else is
demanded exactly once and in order, compared with a list kept outside the engine.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from engine.model.config import RedisSection
from engine.model.events import RedisRecovered
from engine.redis_link.managed_server import ManagedServer
from engine.runtime import SystemClock
from tests.faults.link_desk import LinkDesk, flush, link_desk, read_stream
from tests.real_redis import find_redis_server
from tests.waiting import eventually

_ROOT = Path(__file__).resolve().parents[2]
_MANAGED = RedisSection(mode="managed")
pytestmark = [
    pytest.mark.timeout(60),
    pytest.mark.allow_log("Redis is away|Redis stream:"),
    pytest.mark.skipif(
        not any(shutil.which(name) for name in ("redis-server", "valkey-server")),
        reason="no redis-server or valkey-server on the path",
    ),
]


needs_linux = pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux kills the child with its parent"
)


def _server_of(desk: LinkDesk) -> ManagedServer:
    server = desk.link._server
    assert server.pid is not None
    return server


async def test_a_managed_server_is_started_used_and_ended(tmp_path: Path) -> None:
    async with link_desk(tmp_path / "state.db", section=_MANAGED) as desk:
        server = _server_of(desk)
        await desk.write(100)
        await eventually(desk.is_caught_up)
        desk.assert_mirrored(read_stream(server.url))
        assert Path(server.url.removeprefix("unix://")).stat().st_mode & 0o777 == 0o700
        pid = server.pid
        assert pid is not None
    await eventually(lambda: not _is_alive(pid))


async def test_a_managed_server_is_told_none_of_our_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEAWALL_DESK_KEY", "0123456789abcdef0123456789abcdef")
    monkeypatch.setenv("OF_ANYBODY", "else")
    told = tmp_path / "told"
    program = tmp_path / "redis-server"
    program.write_text(f"#!/bin/sh\nenv > {told}.part; mv {told}.part {told}\n")
    program.chmod(0o700)
    server = ManagedServer(program=str(program), folder=tmp_path / "run", io_clock=SystemClock())
    server.start()
    await eventually(told.exists)
    await server.stop()
    assert "OF_ANYBODY=else" in told.read_text()
    assert "SEAWALL_" not in told.read_text()
    assert "0123456789abcdef" not in told.read_text()


async def test_a_killed_managed_server_is_replaced_and_only_the_rest_is_sent(
    tmp_path: Path,
) -> None:
    async with link_desk(tmp_path / "state.db", section=_MANAGED) as desk:
        server = _server_of(desk)
        await desk.write(100)
        await eventually(desk.is_caught_up)
        first_life = read_stream(server.url)
        epoch = desk.journal.epoch
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
        await eventually(lambda: not desk.link.is_up(), interval_s=0.001)
        await desk.write(100)
        await eventually(desk.outage_is_over, timeout_s=10)
        assert desk.journal.epoch == epoch + 1
        second_life = read_stream(server.url)
        desk.assert_mirrored(first_life + second_life)
        assert len(desk.heard_of(RedisRecovered)) == 1
        assert not desk.foreign()


async def test_what_a_managed_server_loses_during_its_life_is_sent_again(tmp_path: Path) -> None:
    async with link_desk(tmp_path / "state.db", section=_MANAGED) as desk:
        await desk.write(100)
        await eventually(desk.is_caught_up)
        before = len(desk.ledger.ids)
    async with link_desk(tmp_path / "state.db", section=_MANAGED) as desk:
        server = _server_of(desk)
        await desk.write(80)
        await eventually(desk.is_caught_up)
        assert len(read_stream(server.url)) < before
        flush(server.url)
        await desk.write(20)
        await eventually(lambda: len(read_stream(server.url)) >= 100)
        await eventually(desk.is_caught_up)
        desk.assert_mirrored(read_stream(server.url))


async def test_a_path_too_long_for_a_socket_gets_a_temporary_folder(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 20) / ("name" * 20)
    server = ManagedServer(program=find_redis_server() or "", folder=folder, io_clock=SystemClock())
    server.start()
    try:
        socket = Path(server.url.removeprefix("unix://"))
        assert len(bytes(socket)) <= 100
        await eventually(socket.is_socket)
        assert socket.parent.stat().st_mode & 0o077 == 0
    finally:
        await server.stop()
    assert not socket.parent.exists()


async def test_a_missing_program_is_a_cause_in_plain_words(tmp_path: Path) -> None:
    async with link_desk(tmp_path / "state.db", section=_MANAGED, search_path="") as desk:
        assert not desk.link.is_up()
        assert "no redis-server or valkey-server is installed" in desk.link.snapshot().cause
        await desk.write(10)
        assert desk.journal.pending >= 10


@needs_linux
@pytest.mark.parametrize("has_setpriv", [True, False])
@pytest.mark.parametrize("is_stopped_before", [False, True], ids=["killed", "stopped, then killed"])
def test_a_crash_of_the_engine_leaves_no_server_behind(
    tmp_path: Path, *, has_setpriv: bool, is_stopped_before: bool
) -> None:
    with _engine(tmp_path, "time.sleep(60)", has_setpriv=has_setpriv) as (engine, pid):
        if is_stopped_before:
            engine.send_signal(signal.SIGSTOP)
            assert _is_alive(pid)
        engine.kill()
        engine.wait()
        _wait_until_dead(pid)


@needs_linux
@pytest.mark.parametrize("has_setpriv", [True, False])
def test_the_server_ends_with_the_thread_of_the_loop_that_started_it(
    tmp_path: Path, *, has_setpriv: bool
) -> None:
    """The process goes on: without its loop nobody watches the server any more."""
    with _engine(tmp_path, "", has_setpriv=has_setpriv) as (engine, pid):
        _wait_until_dead(pid)
        assert engine.poll() is None


@needs_linux
@pytest.mark.parametrize("has_setpriv", [True, False])
def test_an_engine_that_dies_while_the_server_is_being_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, has_setpriv: bool
) -> None:
    """The kernel tells nobody of a parent that was gone before it was asked to."""
    program = find_redis_server() or ""
    if not has_setpriv:
        monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("os.getpid", lambda: 1)  # As the child would see it then.
    server = ManagedServer(program=program, folder=tmp_path / "run", io_clock=SystemClock())
    server.start()
    deadline = time.monotonic() + 5
    while server.is_running():
        assert time.monotonic() < deadline, "it runs without a parent"
        time.sleep(0.01)


@contextmanager
def _engine(
    folder: Path, then: str, *, has_setpriv: bool
) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A process whose thread starts a server and then does `then`; and the server's pid."""
    script = f"""
        import sys, threading, time
        from pathlib import Path
        from engine.redis_link.managed_server import ManagedServer
        from engine.runtime import SystemClock

        def loop():
            folder = Path({str(folder / "run")!r})
            server = ManagedServer(
                program={find_redis_server()!r}, folder=folder, io_clock=SystemClock()
            )
            server.start()
            socket = Path(server.url.removeprefix("unix://"))
            while not socket.is_socket():
                time.sleep(0.01)
            print(server.pid, flush=True)
            {then or "pass"}

        thread = threading.Thread(target=loop)
        thread.start()
        thread.join()
        time.sleep(60)
    """
    environment = {"PYTHONPATH": str(_ROOT), "PATH": os.environ["PATH"] if has_setpriv else ""}
    engine = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, env=environment
    )
    try:
        assert engine.stdout is not None
        pid = int(engine.stdout.readline())
        yield engine, pid
    finally:
        engine.kill()
        engine.wait()
        if engine.stdout is not None:
            engine.stdout.close()


async def test_a_valkey_server_is_used_where_only_that_is_found(tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    valkey = programs / "valkey-server"
    valkey.symlink_to(find_redis_server() or "")
    async with link_desk(
        tmp_path / "state.db", section=RedisSection(mode="auto"), search_path=str(programs)
    ) as desk:
        assert desk.link.snapshot().mode == "managed"
        assert desk.settings.why == "auto: no URL, valkey-server found"
        server = _server_of(desk)
        assert Path(f"/proc/{server.pid}/cmdline").read_bytes().startswith(bytes(valkey))
        await desk.write(50)
        await eventually(desk.is_caught_up)
        desk.assert_mirrored(read_stream(server.url))


def _wait_until_dead(pid: int) -> None:
    deadline = time.monotonic() + 5
    while _is_alive(pid):
        assert time.monotonic() < deadline, f"server {pid} outlived its engine"
        time.sleep(0.01)


def _is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
