"""The control socket with real sockets, real processes, and every kind of wrong input."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import socket
import stat
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

import pytest

from engine.control import (
    CommandFailed,
    ControlClient,
    ControlServer,
    NoAnswer,
    NoEngine,
    Verb,
)
from engine.control.server import CONNECTIONS_MAX
from engine.control.wire import REQUEST_BYTES_MAX
from engine.model.errors import DataDirectoryInUse, NotExecuted, OperatorMessage
from tests.waiting import eventually

T = TypeVar("T")


async def in_thread(call: Callable[[], T]) -> T:
    """Run a blocking call beside the loop, on a thread that ends with it."""
    outcome: list[T | Exception] = []

    def run() -> None:
        try:
            outcome.append(call())
        except Exception as error:
            outcome.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    await eventually(lambda: outcome, timeout_s=10)
    thread.join()
    if isinstance(outcome[0], Exception):
        raise outcome[0]
    return outcome[0]


async def echo(args: Mapping[str, Any]) -> Any:
    return {"echo": dict(args), "money": Decimal("1.50")}


async def refuse(args: Mapping[str, Any]) -> Any:
    raise OperatorMessage("not on a Sunday")


async def breaks(args: Mapping[str, Any]) -> Any:
    raise KeyError("a programmer's error")


async def unencodable(args: Mapping[str, Any]) -> Any:
    return object()


async def hangs(args: Mapping[str, Any]) -> Any:
    await asyncio.Event().wait()


VERBS: dict[str, Verb] = {
    "echo": echo,
    "refuse": refuse,
    "breaks": breaks,
    "unencodable": unencodable,
    "hangs": hangs,
}


@pytest.fixture(params=["socket", "port"])
async def server(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ControlServer]:
    running = ControlServer(verbs=VERBS, data_dir=tmp_path, by_port=request.param == "port")
    await running.start()
    yield running
    await running.aclose()


async def test_a_verb_is_answered_and_money_stays_exact(
    server: ControlServer, tmp_path: Path
) -> None:
    client = ControlClient(tmp_path)
    result = await in_thread(lambda: client.call("echo", {"symbol": "BTCUSDT", "n": [1, None]}))
    assert result == {"echo": {"symbol": "BTCUSDT", "n": [1, None]}, "money": "1.50"}
    assert await in_thread(lambda: client.call("echo"))


@pytest.mark.allow_log("control verb .* failed")
@pytest.mark.parametrize(
    ("verb", "code", "words"),
    [
        ("refuse", "OperatorMessage", "not on a Sunday"),
        ("breaks", "failed", "a programmer's error"),
        ("unencodable", "failed", "unencodable"),
        ("nonsense", "unknown_verb", "echo"),
    ],
)
async def test_errors_are_answers_and_the_server_goes_on(
    server: ControlServer, tmp_path: Path, verb: str, code: str, words: str
) -> None:
    client = ControlClient(tmp_path)
    with pytest.raises(CommandFailed) as caught:
        await in_thread(lambda: client.call(verb))
    assert caught.value.code == code
    assert words in caught.value.message
    assert await in_thread(lambda: client.call("echo"))


async def test_an_engine_error_keeps_its_name(tmp_path: Path) -> None:
    async def later(args: Mapping[str, Any]) -> Any:
        raise NotExecuted("come again")

    server = ControlServer(verbs={"later": later}, data_dir=tmp_path)
    await server.start()
    with pytest.raises(CommandFailed) as caught:
        await in_thread(lambda: ControlClient(tmp_path).call("later"))
    assert caught.value.code == "NotExecuted"
    await server.aclose()


async def test_only_the_owner_may_reach_it(server: ControlServer, tmp_path: Path) -> None:
    (name,) = [p for p in tmp_path.iterdir() if p.name.startswith("engine.")]
    assert stat.S_IMODE(name.stat().st_mode) == 0o600
    await server.aclose()
    assert list(tmp_path.iterdir()) == []


async def test_a_port_needs_the_token(tmp_path: Path) -> None:
    server = ControlServer(verbs=VERBS, data_dir=tmp_path, by_port=True)
    await server.start()
    record = json.loads((tmp_path / "engine.json").read_text())
    for token in ("", "wrong", "ü"):
        (tmp_path / "engine.json").write_text(json.dumps({**record, "token": token}))
        with pytest.raises(CommandFailed, match=r"the token is not that of engine\.json"):
            await in_thread(lambda: ControlClient(tmp_path).call("echo"))
    await server.aclose()


async def test_a_path_too_long_for_a_socket_falls_back_to_a_port(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    deep.mkdir(parents=True)
    server = ControlServer(verbs=VERBS, data_dir=deep)
    await server.start()
    assert (deep / "engine.json").exists()
    assert await in_thread(lambda: ControlClient(deep).call("echo"))
    await server.aclose()


# --- Wrong input --------------------------------------------------------------------------------


async def raw(tmp_path: Path, *lines: bytes) -> list[dict[str, Any]]:
    """Send lines as they are and read as many answers."""
    reader, writer = await asyncio.open_unix_connection(tmp_path / "engine.sock")
    writer.write(b"".join(lines))
    answers: list[dict[str, Any]] = []
    while len(answers) < len(lines) and (line := await reader.readline()):
        answers.append(json.loads(line))
    writer.close()
    await writer.wait_closed()
    return answers


@pytest.fixture
async def by_socket(tmp_path: Path) -> AsyncIterator[ControlServer]:
    running = ControlServer(verbs=VERBS, data_dir=tmp_path)
    await running.start()
    yield running
    await running.aclose()


async def test_every_wrong_line_gets_one_answer_and_the_connection_goes_on(
    by_socket: ControlServer, tmp_path: Path
) -> None:
    lines = [
        b"\n",
        b"nonsense\n",
        b"[1,2]\n",
        b'{"id":7}\n',
        b'{"v":2,"id":8,"verb":"echo"}\n',
        b'{"v":1,"id":9,"verb":"echo","args":[]}\n',
        b'{"v":1,"id":10,"verb":5}\n',
        b"\xff\xfe\x00\n",
        b"[" * 5000 + b"\n",
        b'{"v":1,"id":"last","verb":"echo"}\n',
    ]
    answers = await raw(tmp_path, *lines)
    assert [answer["ok"] for answer in answers] == [False] * 9 + [True]
    assert [answer["id"] for answer in answers][3:] == [7, 8, 9, 10, None, None, "last"]
    assert all(answer["error"]["message"] for answer in answers[:-1])
    assert "version 2" in answers[4]["error"]["message"]


async def test_a_line_that_is_too_long_is_told_and_closed(
    by_socket: ControlServer, tmp_path: Path
) -> None:
    long = b'{"v":1,"id":1,"verb":"echo","args":{"x":"' + b"y" * REQUEST_BYTES_MAX + b'"}}\n'
    (answer,) = await raw(tmp_path, long)
    assert answer["error"]["code"] == "too_long"
    assert await in_thread(lambda: ControlClient(tmp_path).call("echo"))


async def test_random_bytes_never_end_it(by_socket: ControlServer, tmp_path: Path) -> None:
    chance = random.Random(7)
    for _ in range(100):
        reader, writer = await asyncio.open_unix_connection(tmp_path / "engine.sock")
        writer.write(chance.randbytes(chance.randint(0, 400)) + b"\n" * chance.randint(0, 2))
        writer.close()
        await reader.read()
        await writer.wait_closed()
    assert await in_thread(lambda: ControlClient(tmp_path).call("echo"))


async def test_more_connections_than_allowed_are_told(
    by_socket: ControlServer, tmp_path: Path
) -> None:
    idle = [
        await asyncio.open_unix_connection(tmp_path / "engine.sock") for _ in range(CONNECTIONS_MAX)
    ]
    with pytest.raises(CommandFailed, match="too many connections"):
        await in_thread(lambda: ControlClient(tmp_path).call("echo"))
    for _, writer in idle:
        writer.close()
        await writer.wait_closed()
    await eventually(lambda: not by_socket._connections)
    assert await in_thread(lambda: ControlClient(tmp_path).call("echo"))


async def test_a_verb_that_hangs_holds_up_nobody_else(
    by_socket: ControlServer, tmp_path: Path
) -> None:
    client = ControlClient(tmp_path)
    started = time.monotonic()
    with pytest.raises(NoAnswer, match=r"within 0\.3 s"):
        await in_thread(lambda: client.call("hangs", timeout_s=0.3))
    assert time.monotonic() - started < 1.0
    assert await in_thread(lambda: client.call("echo"))


# --- Other processes ----------------------------------------------------------------------------

_ENGINE = textwrap.dedent(
    """
    import asyncio, sys
    from pathlib import Path
    from engine.control import ControlServer

    async def main():
        async def echo(args):
            return dict(args)
        await ControlServer(verbs={"echo": echo}, data_dir=Path(sys.argv[1])).start()
        print("ready", flush=True)
        await asyncio.Event().wait()

    asyncio.run(main())
    """
)


def start_engine(data_dir: Path) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-c", _ENGINE, str(data_dir)], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return process


def end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


def test_without_an_engine(tmp_path: Path) -> None:
    with pytest.raises(NoEngine, match="no engine runs on"):
        ControlClient(tmp_path).call("status")


def test_another_process_answers_and_a_frozen_one_is_noticed_within_a_second(
    tmp_path: Path,
) -> None:
    process = start_engine(tmp_path)
    try:
        client = ControlClient(tmp_path)
        assert client.call("echo", {"a": 1}) == {"a": 1}
        os.kill(process.pid, signal.SIGSTOP)
        started = time.monotonic()
        with pytest.raises(NoAnswer, match="did not answer within 1 s"):
            client.call("echo")
        assert 0.9 < time.monotonic() - started < 1.5
        os.kill(process.pid, signal.SIGCONT)
        assert client.call("echo") == {}
    finally:
        end(process)


async def test_a_stale_socket_gives_way_and_a_living_one_does_not(tmp_path: Path) -> None:
    process = await in_thread(lambda: start_engine(tmp_path))
    try:
        late = ControlServer(verbs=VERBS, data_dir=tmp_path)
        with pytest.raises(DataDirectoryInUse, match="another engine listens"):
            await late.start()
    finally:
        end(process)
    assert (tmp_path / "engine.sock").exists()
    with pytest.raises(NoEngine, match="left from an earlier one"):
        await in_thread(lambda: ControlClient(tmp_path).call("echo"))
    await late.start()
    assert await in_thread(lambda: ControlClient(tmp_path).call("echo"))
    await late.aclose()
    assert not (tmp_path / "engine.sock").exists()


async def test_closing_leaves_the_socket_of_a_successor(tmp_path: Path) -> None:
    first = ControlServer(verbs=VERBS, data_dir=tmp_path)
    await first.start()
    (tmp_path / "engine.sock").unlink()
    second = ControlServer(verbs=VERBS, data_dir=tmp_path)
    await second.start()
    await first.aclose()
    assert await in_thread(lambda: ControlClient(tmp_path).call("echo"))
    await second.aclose()


@pytest.mark.parametrize("answer", [b"", b"hello\n", b'{"v":1,"id":"other","ok":true}\n'])
def test_something_else_that_listens_is_not_an_engine(tmp_path: Path, answer: bytes) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(tmp_path / "engine.sock"))
        listener.listen()

        def serve() -> None:
            connection, _ = listener.accept()
            connection.recv(1000)
            connection.sendall(answer)
            connection.close()

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(NoAnswer):
            ControlClient(tmp_path).call("echo")
        thread.join()


def test_it_serves_on_qasync_and_uvloop_too(tmp_path: Path) -> None:
    """Goal: the engine does not know its host. Method: the same server on two other loops."""
    script = textwrap.dedent(
        """
        import asyncio, sys, threading
        from pathlib import Path
        from engine.control import ControlClient, ControlServer

        async def main():
            async def echo(args):
                return dict(args)
            server = ControlServer(verbs={"echo": echo}, data_dir=Path(sys.argv[2]))
            await server.start()
            got = []
            thread = threading.Thread(
                target=lambda: got.append(ControlClient(Path(sys.argv[2])).call("echo", {"a": 1}))
            )
            thread.start()
            while not got and thread.is_alive():
                await asyncio.sleep(0.01)
            thread.join()
            await server.aclose()
            assert got == [{"a": 1}], got

        if sys.argv[1] == "qasync":
            from PySide6.QtCore import QCoreApplication
            import qasync
            app = QCoreApplication([])
            loop = qasync.QEventLoop(app)
            with loop:
                loop.run_until_complete(main())
        else:
            import uvloop
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(main())
        print("fine")
        """
    )
    hosts = ["qasync"] if sys.platform == "win32" else ["qasync", "uvloop"]
    for host in hosts:
        done = subprocess.run(
            [sys.executable, "-c", script, host, str(tmp_path)],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
        assert done.stdout.strip().endswith("fine"), (host, done.stderr)
