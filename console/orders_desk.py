"""The Orders page's conduct: paints it while it is shown, previews the ticket, sends commands.

A preview is asked for a moment after the last key, and again with every painting of words, so that
it follows the market; between an edit and its preview it is marked stale and nothing can be sent.
What was sent is pending until the engine answers, and the tables change by its snapshot only.
Milliseconds for the pause after a key. Thread: GUI loop. Fails: refusals arrive as results and are
told on the message line, with every reason.
"""

from typing import Final

from PySide6.QtCore import QObject

from console.commands import CommandDesk
from console.qt import named_timer
from console.viewmodels.freshness import Engine
from console.viewmodels.orders import OrdersState, OrdersViewModel
from console.viewmodels.ticket import TicketViewModel
from console.views.orders_view import OrdersView
from engine.api import CommandResult, EngineClient
from engine.model.ids import Symbol
from engine.model.ticket import TicketPreview
from engine.model.values import decimal

__all__ = ["OrdersDesk"]

_PREVIEW_AFTER_MS: Final = 150
_PLACE: Final = "place order"
_CANCEL: Final = "cancel order"
_CLOSE: Final = "close position"
_HERE: Final = "on the Orders page"


class OrdersDesk(QObject):
    """Connects one Orders page to one engine."""

    def __init__(
        self, *, client: EngineClient, view: OrdersView, commands: CommandDesk, author: str
    ) -> None:
        super().__init__(view)
        self._client = client
        self._view = view
        self._commands = commands
        self._author = author
        self._orders = OrdersViewModel()
        self._ticket = TicketViewModel()
        self._engine: Engine | None = None
        self._state: OrdersState | None = None
        self._preview: TicketPreview | None = None
        self._is_stale = False
        self._closing_symbol = ""
        self._after_key = named_timer(
            self,
            "preview of the ticket",
            interval_ms=_PREVIEW_AFTER_MS,
            callback=self._ask_preview,
            is_single_shot=True,
        )
        self._connect()

    def _connect(self) -> None:
        view, ticket = self._view, self._view.ticket
        ticket.typed.connect(self._on_typed)
        ticket.side_chosen.connect(lambda side: self._on_switched(side=side))
        ticket.unit_chosen.connect(lambda on: self._on_switched(is_notional=on))
        ticket.reduce_only_switched.connect(lambda on: self._on_switched(reduce_only=on))
        ticket.override_switched.connect(lambda on: self._on_switched(override_duplicate=on))
        ticket.send_asked.connect(self._place)
        view.row_chosen.connect(self._on_choice)
        view.part_chosen.connect(self.paint_tables_now)
        view.close_opened.connect(self._open_close)
        view.close_asked.connect(self._close)
        view.close_kept.connect(self._keep)
        view.cancel_asked.connect(self._cancel)
        self._commands.pending_changed.connect(self._on_pending)

    # --- painting -------------------------------------------------------------------------------

    def paint_words(self, engine: Engine) -> None:
        """The ticket, with a preview of now."""
        self._engine = engine
        symbols = tuple(str(symbol) for symbol in engine.snapshot.symbols)
        self._view.ticket.show_symbols(symbols)
        if not self._after_key.isActive():
            self._ask_preview()

    def paint_tables(self, engine: Engine) -> None:
        """Positions and orders."""
        self._engine = engine
        state = self._orders.present(
            engine,
            shows_recent=self._view.shows_recent,
            held_chosen=self._closing_symbol or self._view.held.chosen_key,
            order_chosen=self._view.orders.chosen_key,
            is_closing=self._commands.is_pending(_CLOSE),
            is_cancelling=self._commands.is_pending(_CANCEL),
        )
        self._state = state
        self._view.show_state(state)
        if self._closing_symbol and not state.close.symbol:
            self._keep()  # It was closed meanwhile.

    def paint_tables_now(self) -> None:
        """After a choice, without waiting for the next frame."""
        if self._engine is not None and self._view.isVisible():
            self.paint_tables(self._engine)

    def _paint_ticket(self) -> None:
        if self._engine is None:
            return
        state = self._ticket.present(
            self._engine,
            profile=self._client.policy().active,
            preview=self._preview,
            is_stale=self._is_stale,
            is_pending=self._commands.is_pending(_PLACE),
        )
        self._view.ticket.show_state(state)

    def _on_pending(self) -> None:
        if self._view.isVisible():
            self._paint_ticket()
            self.paint_tables_now()

    # --- the ticket -----------------------------------------------------------------------------

    def _on_typed(self, name: str, text: str) -> None:
        self._ticket.form.texts[name] = text
        self._edited()

    def _on_switched(self, **changes: str | bool) -> None:
        for name, value in changes.items():
            setattr(self._ticket.form, name, value)
        self._edited()

    def _edited(self) -> None:
        self._is_stale = True
        self._after_key.start()
        self._paint_ticket()

    def _ask_preview(self) -> None:
        ticket = self._ticket.ticket()
        silent = self._engine is not None and self._engine.is_silent
        if not silent:
            self._preview = None if ticket is None else self._client.preview(ticket)
            self._is_stale = False
        self._paint_ticket()

    def _place(self) -> None:
        ticket = self._ticket.ticket()
        if ticket is None or self._is_stale:
            return
        title = "Reduce" if ticket.reduce_only else "Order"
        self._commands.send(
            _PLACE,
            f"{title}: {ticket.side} {ticket.symbol}",
            lambda: self._client.submit(ticket, author=self._author, reason=f"placed {_HERE}"),
            on_result=self._on_placed,
        )

    def _on_placed(self, result: CommandResult) -> None:
        if result.ok and self._ticket.form.override_duplicate:
            # It was meant for this one order.
            self._view.ticket.override_box.setChecked(False)

    # --- closing and cancelling -----------------------------------------------------------------

    def _on_choice(self) -> None:
        if self._closing_symbol and self._view.held.chosen_key != self._closing_symbol:
            self._keep()
        self.paint_tables_now()

    def _open_close(self) -> None:
        if self._state is not None and self._state.close.can_close:
            self._closing_symbol = self._state.close.symbol
            self._view.open_close(self._state.close)

    def _keep(self) -> None:
        self._closing_symbol = ""
        self._view.end_close()

    def _close(self, text: str) -> None:
        if self._state is None or not self._closing_symbol:
            return
        symbol, whole = Symbol(self._closing_symbol), self._state.close.all_of_it
        try:
            quantity = None if text.strip() in ("", whole) else decimal(text.strip())
        except ValueError as error:
            self._commands.say(f"Close {symbol}: {error}")
            return
        self._commands.send(
            _CLOSE,
            f"Close {symbol}",
            lambda: self._client.close_position(
                symbol, quantity=quantity, author=self._author, reason=f"closed {_HERE}"
            ),
        )
        self._keep()

    def _cancel(self) -> None:
        identifier = self._view.orders.chosen_key
        if not identifier:
            return
        self._commands.send(
            _CANCEL,
            f"Cancel {identifier}",
            lambda: self._client.cancel_order(
                identifier, author=self._author, reason=f"cancelled {_HERE}"
            ),
        )
