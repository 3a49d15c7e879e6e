"""A console on a real paper engine whose market stands still, as a process of its own.

Run as `python -m tests.e2e.console_on_paper DATA_DIR`. For tests of the Orders page on a real
display. Prints a JSON line when the window is there (places in screen pixels) and one whenever
positions, working orders, the verdict of the ticket or its field with the focus have changed. Ends
on SIGTERM.
"""

from __future__ import annotations

import asyncio
import json
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

from PySide6.QtWidgets import QApplication, QWidget

from console.bootstrap import make_application
from console.qt import ConsoleEventLoop
from console.theme import LiveTheme
from console.window import MainWindow
from engine.kernel import Kernel, KernelOptions, build_kernel
from engine.model.config import Configuration, PaperSection, RedisSection
from engine.model.ids import Symbol
from engine.runtime import SystemClock
from tests.desk import ScriptedMarket, with_feed

BTC = Symbol("BTCUSDT")


def say(**fields: Any) -> None:
    """One line for the test that reads us."""
    sys.stdout.write(json.dumps(fields) + "\n")
    sys.stdout.flush()


def centre(widget: QWidget) -> list[int]:
    """Where a widget's middle is on the screen."""
    point = widget.mapToGlobal(widget.rect().center())
    return [point.x(), point.y()]


def first_row(table: QWidget) -> list[int]:
    """The middle of the first row of a table, below its header."""
    point = table.mapToGlobal(table.rect().topLeft())
    return [point.x() + 60, point.y() + 25 + 13]


async def engine(data_dir: Path) -> Kernel:
    """A paper engine on which only the operator trades."""
    clock = SystemClock()
    options = KernelOptions(
        configuration=Configuration(
            redis=RedisSection(mode="standalone"),
            paper=PaperSection(initial_balance=Decimal(100_000), latency_ms=5),
        ),
        data_dir=data_dir,
    )
    kernel = await build_kernel(options, clock=clock)
    return with_feed(kernel, ScriptedMarket(clock=clock, prices={BTC: "60000"}))


def places(window: MainWindow) -> dict[str, list[int]]:
    """Where the test presses."""
    page = window.orders_view
    return {
        "symbol": centre(page.ticket.edit("symbol")),
        "amount": centre(page.ticket.edit("amount")),
        "price": centre(page.ticket.edit("price")),
        "send": centre(page.ticket.send_button),
        "held": first_row(page.held),
        "orders": first_row(page.orders),
        "open_close": centre(page.open_close_button),
        "cancel": centre(page.cancel_button),
        "stop": centre(window.stop_button),
    }


def told(window: MainWindow, kernel: Kernel) -> dict[str, Any]:
    """What a test waits for."""
    snapshot = kernel.client.snapshot()
    page = window.orders_view
    focus = QApplication.focusWidget()
    return {
        "positions": {str(one.symbol): format(one.quantity, "f") for one in snapshot.positions},
        "protected": [one.protected is not None for one in snapshot.positions],
        "resting": [one.client_order_id for one in snapshot.orders if one.purpose == "entry"],
        "verdict": page.ticket.verdict.text,
        "asking": page.is_asking,
        "can_close": page.open_close_button.isEnabled(),
        "can_cancel": page.cancel_button.isEnabled(),
        "focus": "" if focus is None else focus.accessibleName(),
        "latched": snapshot.emergency.latched,
    }


async def main(window: MainWindow, kernel: Kernel) -> None:
    """Open the Orders page, tell where things are, then what is there, until a signal ends us."""
    await kernel.start()
    window.begin()
    window.show_page("orders")
    await asyncio.sleep(0.5)  # The window manager places the window first.
    say(**places(window))
    before: dict[str, Any] = {}
    while True:
        now = told(window, kernel)
        if now != before:
            say(**now)
            before = now
        await asyncio.sleep(0.02)


if __name__ == "__main__":
    application = make_application()
    loop = ConsoleEventLoop(application)
    asyncio.set_event_loop(loop)
    kernel = loop.run_until_complete(engine(Path(sys.argv[1])))
    window = MainWindow(
        client=kernel.client,
        theme=LiveTheme(application=application),
        application=application,
        loop=loop,
    )
    window.resize(1366, 700)
    window.show()
    loop.run_until_complete(main(window, kernel))
