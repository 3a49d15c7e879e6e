"""Nothing is cut, nothing overlaps, everything has a name, and it fits a small screen."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec
import pytest
from PySide6.QtGui import QFontDatabase, QFontMetrics, QImage, QRawFont
from PySide6.QtWidgets import (
    QAbstractButton,
    QCheckBox,
    QComboBox,
    QLineEdit,
    QPushButton,
    QStackedWidget,
    QWidget,
)

from console.qt import SheetHost
from console.theme import THEMES
from console.theme.fonts import TextStyle, font_for
from console.widgets import (
    Chip,
    FactsGrid,
    HoldButton,
    IndicatorBar,
    Paragraph,
    StepTimeline,
    StopButton,
    TextLabel,
)
from console.widgets.data_table import DataTable
from console.window import MainWindow
from engine.model.snapshots import EngineSnapshot, EngineState
from tests.fakes.engine_client import (
    ALARMS,
    ORDERS,
    UNRESOLVED_ORDER,
    down_snapshot,
    flat_snapshot,
    latched_snapshot,
    recovered_snapshot,
    replaying_snapshot,
    running_snapshot,
)
from tests.unit.console.conftest import SIZES, Desk


def alarmed_snapshot() -> EngineSnapshot:
    orders = (*ORDERS, UNRESOLVED_ORDER)
    return msgspec.structs.replace(running_snapshot(), alarms=ALARMS, orders=orders)


def ready_snapshot() -> EngineSnapshot:
    return msgspec.structs.replace(running_snapshot(), state=EngineState.READY, positions=())


def halted_snapshot() -> EngineSnapshot:
    return msgspec.structs.replace(running_snapshot(), state=EngineState.HALTED)


def reducing_snapshot() -> EngineSnapshot:
    return msgspec.structs.replace(
        running_snapshot(), state=EngineState.REDUCE_ONLY, reduce_only_by_operator="too wild"
    )


STATES = (
    reducing_snapshot,
    running_snapshot,
    alarmed_snapshot,
    latched_snapshot,
    flat_snapshot,
    ready_snapshot,
    halted_snapshot,
    down_snapshot,
    replaying_snapshot,
    recovered_snapshot,
)


# Every page, and every half of a page that has two.
PAGES = ("overview", "orders", "policy", "alarms", "health links", "health events")


def show(window: MainWindow, page: str) -> None:
    """Bring a page, or a half of one, to the front."""
    name, _, part = page.partition(" ")
    window.show_page(name)
    if part:
        window.health_view.show_part(part)


def shown_pages(desk: Desk, window: MainWindow) -> Iterator[str]:
    """Bring one after another to the front of the one window: to open a window is what costs."""
    for page in PAGES:
        show(window, page)
        desk.settle()
        yield page


def open_sheet(window: MainWindow) -> None:
    window.stop_desk.open_reset()


def cut_texts(window: MainWindow) -> list[str]:
    """Every text that does not fit its widget."""
    cut: list[str] = []
    for widget in window.findChildren(QWidget):
        if not widget.isVisible():
            continue
        if isinstance(widget, TextLabel):
            if not widget.may_elide and not widget.text_fits():
                cut.append(f"label {widget.text!r}")
        elif isinstance(widget, FactsGrid):
            cut += [f"fact {text!r}" for text in widget.cut_values()]
        elif isinstance(widget, Paragraph):
            if not widget.is_whole:
                cut.append(f"paragraph {widget.text!r}")
        elif isinstance(widget, Chip | HoldButton | IndicatorBar | StepTimeline | StopButton):
            if not widget.text_fits():
                cut.append(f"{type(widget).__name__} {widget.accessibleName()!r}")
        elif isinstance(widget, DataTable):
            cut += [f"cell {text!r}" for text in widget.cut_cells()]
        elif isinstance(widget, QPushButton | QCheckBox):
            metrics = QFontMetrics(widget.font())
            room = widget.width() - 12
            for line in widget.text().split("\n"):
                if metrics.horizontalAdvance(line) > room:
                    cut.append(f"button {line!r}")
        elif isinstance(widget, QLineEdit) and widget.text():
            if QFontMetrics(widget.font()).horizontalAdvance(widget.text()) > widget.width() - 16:
                cut.append(f"field {widget.text()!r}")
    return cut


def overlapping_siblings(window: MainWindow) -> list[str]:
    """Visible siblings whose rectangles meet, sheets (made to cover) aside."""
    found = []
    for parent in [window, *window.findChildren(QWidget)]:
        if isinstance(parent, QStackedWidget | QComboBox | QLineEdit | DataTable | SheetHost):
            continue
        if parent.metaObject().className() in {"LimitChart", "QListWidget"}:
            continue
        children = [
            child
            for child in parent.children()
            if isinstance(child, QWidget)
            and child.isVisible()
            and not child.isWindow()
            and not isinstance(child, SheetHost)
        ]
        for at, one in enumerate(children):
            for other in children[at + 1 :]:
                if one.geometry().intersects(other.geometry()):
                    found.append(f"{one!r} over {other!r}")
    return found


@pytest.mark.parametrize("size", [*SIZES, (1440, 900), (1280, 680)])
@pytest.mark.parametrize("state", STATES)
def test_nothing_is_cut_and_nothing_overlaps(
    desk: Desk, state: Callable[[], EngineSnapshot], size: tuple[int, int]
) -> None:
    window = desk.open(state(), size=size)
    for page in shown_pages(desk, window):
        assert (window.width(), window.height()) == size, page
        assert cut_texts(window) == [], page
        assert overlapping_siblings(window) == [], page


def test_the_reset_sheet_fits_a_small_window(desk: Desk) -> None:
    window = desk.open(flat_snapshot(would_trip_again=("peak", "day")), size=(1280, 680))
    open_sheet(window)
    desk.settle()
    sheet = window.sheets.current
    assert sheet is not None
    assert window.sheets.rect().contains(sheet.geometry())
    assert cut_texts(window) == []


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("size", SIZES)
def test_it_may_be_made_as_small_as_1280_by_680(
    desk: Desk, state: Callable[[], EngineSnapshot], size: tuple[int, int]
) -> None:
    window = desk.open(state(), size=size)
    hint = window.minimumSizeHint()
    assert hint.width() <= 1280
    assert hint.height() <= 680


@pytest.mark.parametrize("state", STATES)
def test_every_control_has_an_accessible_name(
    desk: Desk, state: Callable[[], EngineSnapshot]
) -> None:
    window = desk.open(state())
    kinds = QAbstractButton | QComboBox | DataTable | StopButton | IndicatorBar
    for page in shown_pages(desk, window):
        nameless = [
            repr(widget)
            for widget in window.findChildren(QWidget)
            if isinstance(widget, kinds)
            and widget.isVisible()
            and not (widget.accessibleName() or getattr(widget, "text", str)())
        ]
        assert nameless == [], page
        edits = [
            repr(widget)
            for widget in window.findChildren(QLineEdit)
            if widget.isVisible() and not widget.accessibleName()
        ]
        assert edits == [], page


def saturated_share(image: QImage, window: MainWindow) -> float:
    """Share of pixels outside the stop with an HSV saturation over 0.45, coarse grid of 3."""
    stop = window.stop_button.geometry().adjusted(-2, -2, 2, 2)
    stop.moveTopLeft(window.stop_button.mapTo(window, stop.topLeft() - stop.topLeft()))
    seen = strong = 0
    for y in range(0, image.height(), 3):
        for x in range(0, image.width(), 3):
            if stop.contains(x, y):
                continue
            seen += 1
            colour = image.pixelColor(x, y)
            # Near black, saturation is noise of rounding: nobody sees a colour there.
            strong += colour.saturationF() > 0.45 and colour.valueF() > 0.2
    return strong / seen


@pytest.mark.parametrize("theme_name", sorted(THEMES))
@pytest.mark.parametrize("page", PAGES)
def test_a_healthy_screen_is_calm(desk: Desk, theme_name: str, page: str) -> None:
    """Goal: colour means abnormal (R26). Method: count saturated pixels outside the stop."""
    window = desk.open(running_snapshot(), theme=THEMES[theme_name])
    show(window, page)
    desk.settle()
    assert saturated_share(window.grab().toImage(), window) < 0.001


def test_an_alarm_is_seen_in_colour(desk: Desk) -> None:
    """The counter-test of calm: the same measure sees an alarm."""
    window = desk.open(latched_snapshot())
    assert saturated_share(window.grab().toImage(), window) > 0.005


@pytest.mark.parametrize("state", STATES)
def test_the_bundled_typeface_has_every_character_shown(
    desk: Desk, state: Callable[[], EngineSnapshot]
) -> None:
    """Goal: no glyph may be missing on a machine without fonts (R62)."""
    window = desk.open(state())
    for page in shown_pages(desk, window):
        assert missing_characters(window) == set(), page


def missing_characters(window: MainWindow) -> set[str]:
    """Characters on the screen that the bundled typeface has not."""
    raw = QRawFont.fromFont(font_for(TextStyle.BODY), QFontDatabase.WritingSystem.Latin)
    texts = [
        str(getattr(widget, "text", str)() if isinstance(widget, QAbstractButton) else "")
        + widget.accessibleName()
        for widget in window.findChildren(QWidget)
        if widget.isVisible()
    ]
    texts += [widget.text for widget in window.findChildren(TextLabel)]
    texts += [
        cell.text
        for table in window.findChildren(DataTable)
        for row in table.cells.rows
        for cell in row
    ]
    return {
        character
        for text in texts
        for character in text
        if character not in "\n" and not raw.supportsCharacter(ord(character))
    }
