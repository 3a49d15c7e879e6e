"""The program `seawall`: reads the command line and does what it says, or says what would be right.

Exit status: 0 success, 1 a run or command that failed, 2 bad usage or configuration. JSON goes to
standard output as exactly one document, everything else to standard error and the log file. No
traceback reaches a user; every one reaches the log.
"""

from __future__ import annotations

import argparse
import getpass
import itertools
import json
import logging
import logging.handlers
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import platformdirs

from console import cli_text
from console.arguments import build_parser
from console.key_commands import KeysDoor, run_key_command
from console.order_commands import run_order_command
from console.record_commands import RECORD_COMMANDS, RecordsDoor, run_record_command
from engine.control import CommandFailed, ControlClient, NoAnswer, NoEngine
from engine.kernel import (
    ImportRequest,
    Kernel,
    KernelOptions,
    back_up_offline,
    build_kernel,
    database_findings,
    exchange_key,
    forget_api_key,
    import_buffer,
    import_state,
    latch_findings,
    load_configuration,
    mode_on_disk,
    read_audit,
    real_clock,
    run_headless,
    serve_control,
    show_api_key,
    status_from_disk,
    store_api_key,
    verify_audit,
)
from engine.model.config import Configuration
from engine.model.emergency import Scope
from engine.model.errors import (
    ConfigurationError,
    DataDirectoryInUse,
    EngineError,
    OperatorMessage,
)
from engine.stop_guard import offline_panic

if TYPE_CHECKING:
    from console.bootstrap import HostedEngine
    from console.selftest import EngineUnderTest

VERSION = "0.1.0"
_log = logging.getLogger(__name__)
_ANSWER_S = 1.0
_POLL_S = 0.25


class _Exit(Exception):
    """Leave with a status and a sentence for the operator."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    parser = build_parser(VERSION)
    arguments = parser.parse_args(argv)
    try:
        return _dispatch(arguments)
    except _Exit as leaving:
        return _say(str(leaving), leaving.status)
    except ConfigurationError as error:
        return _say(f"configuration: {error}", 2)
    except (OperatorMessage, DataDirectoryInUse) as error:
        return _say(str(error), 1)
    except KeyboardInterrupt:
        return _say("interrupted", 1)
    except (EngineError, OSError) as error:
        _log.exception("command failed")
        return _say(f"{type(error).__name__}: {error}", 1)
    except Exception as error:
        _log.exception("command failed")
        return _say(f"internal error ({type(error).__name__}); the log has the details", 1)


def _say(message: str, status: int) -> int:
    sys.stderr.write(f"seawall: {message}\n")
    return status


def _dispatch(arguments: argparse.Namespace) -> int:
    if arguments.command in {"bench", "screenshot", "selftest"}:
        return _workshop(arguments)
    if arguments.command == "run":
        return _run(arguments)
    data_dir = _data_dir(arguments)
    if arguments.command == "panic":
        set_up_logging(data_dir if data_dir.is_dir() else None, "warning", name="commands.log")
        return _panic(arguments, data_dir)
    configuration = load_configuration(_config_path(arguments))
    if arguments.command == "keys":
        set_up_logging(None, "warning")
        return _keys(arguments, configuration)
    if arguments.command is None:
        return _console(configuration, data_dir)
    set_up_logging(data_dir if data_dir.is_dir() else None, "warning", name="commands.log")
    if arguments.command in RECORD_COMMANDS:
        return run_record_command(arguments, _records_door(configuration, data_dir))
    handlers = {"status": _status, "policy": _policy, "order": _order}
    handler = handlers.get(arguments.command, _command)
    return handler(arguments, data_dir)


# --- where things are ----------------------------------------------------------------------------


def _config_path(arguments: argparse.Namespace) -> Path | None:
    given: str | None = getattr(arguments, "config", None)
    if given is not None:
        path = Path(given)
        if not path.is_file():
            raise _Exit(2, f"--config: there is no file {path}")
        return path
    default = Path(platformdirs.user_config_dir("seawall")) / "seawall.toml"
    return default if default.is_file() else None


def _data_dir(arguments: argparse.Namespace) -> Path:
    given: str | None = getattr(arguments, "data_dir", None)
    return Path(given) if given is not None else Path(platformdirs.user_data_dir("seawall"))


class _ForPeople(logging.Formatter):
    """What a person reads: the sentence without the traceback, which is in the log file."""

    def format(self, record: logging.LogRecord) -> str:
        plain = logging.makeLogRecord({**record.__dict__, "exc_info": None, "exc_text": None})
        return super().format(plain)


def set_up_logging(data_dir: Path | None, level: str, *, name: str = "seawall.log") -> None:
    """Log to standard error (where there is one) and, with a data directory, to its log file."""
    words = "%(asctime)sZ %(levelname)s %(name)s: %(message)s"
    logging.Formatter.converter = time.gmtime
    handlers: list[logging.Handler] = []
    if sys.stderr is not None:
        stream = logging.StreamHandler(sys.stderr)
        # A person at a terminal sees what needs looking at; the file has everything.
        stream.setLevel(logging.WARNING)
        stream.setFormatter(_ForPeople(words))
        handlers.append(stream)
    if data_dir is not None:
        folder = data_dir / "logs"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        rotating = logging.handlers.RotatingFileHandler(
            folder / name, maxBytes=10_000_000, backupCount=5, encoding="utf-8"
        )
        rotating.setFormatter(logging.Formatter(words))
        handlers.append(rotating)
    logging.basicConfig(level=level.upper(), handlers=handlers, force=True)


# --- commands that run an engine -----------------------------------------------------------------


def _console(configuration: Configuration, data_dir: Path) -> int:
    try:
        shown = ControlClient(data_dir).call("show", {}, timeout_s=_ANSWER_S)["ok"]
    except NoEngine:
        pass  # Nobody is there: we are the first.
    except CommandFailed:
        return _say(
            "an engine without a window runs with this data directory; `seawall status`, `halt`,"
            " `panic` and all other commands act on it",
            1,
        )
    else:
        what = "was asked forward" if shown else "is about to open"
        return _say(f"already running with this data directory; its window {what}", 0)
    # Late, so that a command without a window never loads Qt.
    from console.bootstrap import run_console

    set_up_logging(data_dir, configuration.log.level)
    options = KernelOptions(configuration=configuration, data_dir=data_dir)
    return run_console(
        _engine_host(options), theme_name=configuration.console.theme, author=_author()
    )


def _engine_host(
    options: KernelOptions, *, on_built: Callable[[Kernel], None] = lambda _: None
) -> Callable[[], Awaitable[HostedEngine]]:
    """What the window hosts: an engine with its control socket."""
    from console.bootstrap import HostedEngine

    async def build() -> HostedEngine:
        kernel = await build_kernel(options, clock=real_clock(options))
        on_built(kernel)
        sockets = AsyncExitStack()
        raise_window: list[Callable[[], None]] = []

        async def show(_: Mapping[str, Any]) -> dict[str, bool]:
            for bring_forward in raise_window:
                bring_forward()
            return {"ok": bool(raise_window)}

        async def start() -> None:
            further = {"show": show}
            await sockets.enter_async_context(
                serve_control(kernel, options.data_dir, further=further)
            )
            await kernel.start()

        async def stop() -> None:
            await sockets.aclose()
            await kernel.stop()

        return HostedEngine(
            client=kernel.client, start=start, stop=stop, on_window=raise_window.append
        )

    return build


def _run(arguments: argparse.Namespace) -> int:
    if not arguments.headless:
        raise _Exit(2, "run: only --headless runs without a window; `seawall` opens the console")
    if arguments.speed is not None and arguments.replay is None:
        raise _Exit(2, "--speed belongs to --replay FILE")
    if arguments.replay is not None and not Path(arguments.replay).is_file():
        raise _Exit(2, f"--replay: there is no file {arguments.replay}")
    configuration = load_configuration(_config_path(arguments))
    with tempfile.TemporaryDirectory(prefix="seawall-") as temporary:
        if arguments.replay is not None and not hasattr(arguments, "data_dir"):
            data_dir = Path(temporary)
        else:
            data_dir = _data_dir(arguments)
        set_up_logging(data_dir, configuration.log.level)
        options = KernelOptions(
            configuration=configuration,
            data_dir=data_dir,
            replay=None if arguments.replay is None else Path(arguments.replay),
            speed=arguments.speed or "1",
            seed=arguments.seed,
            confirm_live=arguments.confirm_live,
        )
        summary = run_headless(options, duration_s=arguments.duration)
        if arguments.json:
            _print_json(summary)
        else:
            sys.stdout.write(cli_text.summary_text(summary))
        logging.shutdown()
    return 0 if summary["ok"] else 1


def _workshop(arguments: argparse.Namespace) -> int:
    """Benchmarks, screenshots and the self-test: late imports, as most need what others do not."""
    if arguments.command == "bench":
        try:
            from tests.benchmarks.runner import run_benchmarks
        except ModuleNotFoundError:
            raise _Exit(2, "bench: needs a source checkout; this build has none") from None
        set_up_logging(None, "warning")
        results = run_benchmarks(arguments.names, peers=arguments.peers)
        if arguments.json:
            _print_json(results)
        else:
            sys.stdout.write(cli_text.bench_text(results))
        return 0
    set_up_logging(None, "warning")
    if arguments.command == "selftest":
        from console.selftest import run_selftest

        outcome = run_selftest(_engine_under_test())
        if arguments.json:
            _print_json(outcome)
        else:
            sys.stdout.write(cli_text.selftest_text(outcome))
        return 0 if outcome["ok"] else 1
    from console.screenshots import photograph

    configuration = load_configuration(_config_path(arguments))
    with tempfile.TemporaryDirectory(prefix="seawall-") as temporary:
        folders = itertools.count(1)

        def build() -> Awaitable[HostedEngine]:
            data_dir = Path(temporary) / str(next(folders))
            return _engine_host(KernelOptions(configuration=configuration, data_dir=data_dir))()

        written = photograph(
            build,
            Path(arguments.directory),
            size=arguments.size,
            theme_name=arguments.theme,
        )
    sys.stdout.write("".join(f"{path}\n" for path in written))
    return 0


def _engine_under_test() -> EngineUnderTest:
    """Real engines for the self-test, on the recordings that it writes."""
    from console.selftest import EngineUnderTest, HostedTest

    def options(data_dir: Path, recording: Path, speed: Literal["1", "max"]) -> KernelOptions:
        return KernelOptions(
            configuration=Configuration(), data_dir=data_dir, replay=recording, speed=speed
        )

    def replay(data_dir: Path, recording: Path) -> dict[str, Any]:
        return run_headless(options(data_dir, recording, "max"), duration_s=None)

    async def host(data_dir: Path, recording: Path) -> HostedTest:
        built: list[Kernel] = []
        engine = await _engine_host(options(data_dir, recording, "1"), on_built=built.append)()
        return HostedTest(engine=engine, summary=built[0].summary)

    return EngineUnderTest(
        replay=replay,
        host=host,
        database_findings=database_findings,
        latch_findings=latch_findings,
        status_from_disk=status_from_disk,
    )


# --- commands to a running engine ----------------------------------------------------------------


def _status(arguments: argparse.Namespace, data_dir: Path) -> int:
    try:
        status = ControlClient(data_dir).call("status", {}, timeout_s=_ANSWER_S)
    except NoEngine:
        status = status_from_disk(data_dir)
    if arguments.json:
        _print_json(status)
    else:
        sys.stdout.write(cli_text.status_text(status))
    return 0


def _command(arguments: argparse.Namespace, data_dir: Path) -> int:
    """start, halt, resume, reduce-only, reset: only a running engine can do them."""
    fields: dict[str, Any] = {"reason": arguments.reason, "author": _author()}
    if arguments.command == "reduce-only":
        fields["switch"] = arguments.switch
    if arguments.command == "start":
        fields["confirm_live"] = arguments.confirm_live
    if arguments.command == "reset":
        fields |= {
            "cause": arguments.cause,
            "clear": arguments.clear,
            "rebase": arguments.rebase,
            "accept_residual": arguments.accept_residual,
            "acknowledge": arguments.acknowledge,
        }
    return _answer(arguments, _ask(data_dir, arguments.command, fields, timeout_s=30.0))


def _order(arguments: argparse.Namespace, data_dir: Path) -> int:
    def ask(verb: str, fields: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        return _ask(data_dir, verb, fields, timeout_s=timeout_s)

    return run_order_command(arguments, ask=ask, author=_author())


def _ask(data_dir: Path, verb: str, fields: dict[str, Any], *, timeout_s: float) -> dict[str, Any]:
    try:
        answer: dict[str, Any] = ControlClient(data_dir).call(verb, fields, timeout_s=timeout_s)
    except NoEngine as error:
        raise _Exit(1, f"{verb}: {error}") from error
    return answer


def _records_door(configuration: Configuration, data_dir: Path) -> RecordsDoor:
    """What the commands about records may ask of an engine, or of its files."""

    def ask(verb: str, fields: dict[str, Any], timeout_s: float) -> dict[str, Any] | None:
        try:
            answer: dict[str, Any] = ControlClient(data_dir).call(verb, fields, timeout_s=timeout_s)
        except NoAnswer as error:
            raise _Exit(1, f"{verb}: {error}") from error
        except NoEngine:
            return None
        except CommandFailed as error:
            raise _Exit(1, f"{verb}: {error}") from error
        return answer

    def request(path: Path, reason: str) -> ImportRequest:
        return ImportRequest(
            path=path,
            data_dir=data_dir,
            configuration=configuration,
            author=_author(),
            reason=reason,
        )

    return RecordsDoor(
        ask=ask,
        author=_author(),
        back_up_offline=lambda: back_up_offline(data_dir, configuration),
        verify_audit=lambda: verify_audit(data_dir),
        read_audit=lambda: read_audit(data_dir),
        import_state=lambda path, reason: import_state(request(path, reason)),
        import_buffer=lambda path, reason: import_buffer(request(path, reason)),
    )


def _keys(arguments: argparse.Namespace, configuration: Configuration) -> int:
    """The commands about exchange keys, of the configuration's venue and node unless named."""
    arguments.venue = arguments.venue or configuration.venue.name
    arguments.account = arguments.account or configuration.node.name
    door = KeysDoor(
        store=lambda venue, account, key, secret: store_api_key(
            venue, account, key=key, secret=secret
        ),
        forget=forget_api_key,
        show=show_api_key,
    )
    return run_key_command(arguments, door)


def _answer(arguments: argparse.Namespace, result: dict[str, Any]) -> int:
    if arguments.json:
        _print_json(result)
    else:
        sys.stdout.write(cli_text.result_text(result))
    return 0 if result["ok"] else 1


def _panic(arguments: argparse.Namespace, data_dir: Path) -> int:
    client = ControlClient(data_dir)
    scope = Scope(arguments.scope)
    reason = arguments.reason or f"seawall panic by {_author()}"
    try:
        result = client.call(
            "panic", {"reason": reason, "scope": arguments.scope}, timeout_s=_ANSWER_S
        )
    except NoEngine:
        return _answer(arguments, _panic_here(arguments, data_dir, reason))
    deadline = time.monotonic() + arguments.wait
    while _panic_unmet(result, scope) and time.monotonic() < deadline:
        time.sleep(_POLL_S)
        try:
            status = client.call("status", {}, timeout_s=_ANSWER_S)
        except NoEngine:
            # It went away in the middle of the stop: go on without it.
            return _answer(arguments, _panic_here(arguments, data_dir, reason))
        result = {"state": status["state"], "emergency": status["emergency"]}
    unmet = _panic_unmet(result, scope)
    return _answer(arguments, {**result, "ok": not unmet, "unmet": unmet})


def _panic_here(arguments: argparse.Namespace, data_dir: Path, reason: str) -> dict[str, Any]:
    """Without an engine. A configuration that cannot be read keeps nobody from latching; whose
    account is to be closed is then not known, which is said.
    """
    wrong = ""
    try:
        configuration = load_configuration(_config_path(arguments))
    except (ConfigurationError, _Exit) as error:
        configuration, wrong = Configuration(), str(error)
    options = KernelOptions(configuration=configuration, data_dir=data_dir)
    result = offline_panic(
        data_dir,
        reason=reason,
        wait_s=arguments.wait,
        scope=Scope(arguments.scope),
        configuration=configuration,
        find_key=lambda: exchange_key(options),
    )
    if wrong:
        wrong += "; so only a paper account was looked for"
    else:
        wrong = _other_books(configuration, data_dir)
    if not wrong:
        return result
    why = f"{wrong}: check the exchange itself"
    unmet = [{"condition": "configuration", "why": why}, *result["unmet"]]
    return {**result, "ok": False, "unmet": unmet}


def _other_books(configuration: Configuration, data_dir: Path) -> str:
    """What is wrong when the account that was stopped is not the one of this data directory."""
    books, mode = mode_on_disk(data_dir), configuration.engine.mode
    if books in ("", mode):
        return ""
    return f"{data_dir} holds the books of mode '{books}', and the configuration says '{mode}'"


def _panic_unmet(result: dict[str, Any], scope: Scope) -> list[dict[str, str]]:
    """Flat, and with scope desk: the desk knows."""
    emergency = result["emergency"]
    unmet = []
    if emergency["state"] != "flat":
        open_at_venue = (
            f"{emergency['positions_open']} positions, {emergency['orders_open']} orders"
        )
        unmet.append({"condition": "flat", "why": f"{open_at_venue} are open"})
    if scope is Scope.DESK and emergency["untold"]:
        unmet.append({"condition": "desk", "why": emergency["desk_why"]})
    return unmet


def _policy(arguments: argparse.Namespace, data_dir: Path) -> int:
    action: str = arguments.action
    if action in {"show", "history", "diff"}:
        fields: dict[str, Any] = {}
        if action == "diff":
            fields = {"before": arguments.before, "after": arguments.after}
        document = _ask(data_dir, f"policy.{action}", fields, timeout_s=5.0)
        if arguments.json:
            _print_json(document)
        else:
            sys.stdout.write(cli_text.policy_text(action, document))
        return 0
    fields = {"author": _author(), "reason": arguments.reason}
    if action == "mode":
        fields["name"] = arguments.name
    elif action == "rollback":
        fields["version"] = arguments.version
    elif action == "resolve":
        fields["choice"] = arguments.choice
    else:
        fields["changes"] = _assignments(arguments.assignments)
        fields["base_version"] = arguments.base_version
    return _answer(arguments, _ask(data_dir, f"policy.{action}", fields, timeout_s=5.0))


def _assignments(texts: list[str]) -> dict[str, str]:
    changes: dict[str, str] = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator or not name:
            raise _Exit(2, f"policy set: {text!r} is not FIELD=VALUE")
        changes[name] = value
    return changes


def _author() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "operator"


def _print_json(document: Any) -> None:
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")


__all__ = ["VERSION", "main", "set_up_logging"]
