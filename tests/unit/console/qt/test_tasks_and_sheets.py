"""Guarded tasks report, end with their owner; sheets resolve a future and never block anything."""

from __future__ import annotations

import asyncio

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QWidget

from console.qt import ConsoleTasks, PageRegion, Sheet, SheetHost, async_slot, named_timer
from tests.unit.console.conftest import Desk


@pytest.mark.allow_log("console task 'breaks' failed")
def test_a_failing_task_is_reported_by_name(desk: Desk) -> None:
    reported: list[str] = []
    tasks = ConsoleTasks(loop=desk.loop, report=reported.append)

    async def breaks() -> None:
        raise ValueError("no")

    async_slot(tasks, "breaks", breaks)(True)
    desk.settle()
    assert reported == ["breaks failed: ValueError. Details are in the log."]
    assert tasks.names == ()


def test_closing_cancels_what_still_runs(desk: Desk) -> None:
    tasks = ConsoleTasks(loop=desk.loop, report=lambda _: None)
    task = tasks.spawn("waits", asyncio.Event().wait())
    desk.settle()
    assert tasks.names == ("waits",)
    desk.run(tasks.aclose())
    assert task.cancelled()


def test_a_named_timer_belongs_to_its_owner(qapp: QApplication) -> None:
    owner = QWidget()
    timer = named_timer(owner, "a name", interval_ms=50, callback=lambda: None)
    assert (timer.parent(), timer.objectName(), timer.isActive()) == (owner, "a name", False)


class _Question(Sheet):
    safe_answer = "no"


def _host(desk: Desk) -> tuple[QWidget, SheetHost]:
    region = PageRegion()
    region.resize(600, 400)
    region.show()
    return region, SheetHost(region=region, theme=desk.theme)


def test_escape_gives_the_safe_answer_and_the_focus_back(desk: Desk) -> None:
    region, host = _host(desk)
    answers: list[str] = []

    async def ask() -> None:
        answers.append(await host.ask(_Question(title="Question")))

    task = desk.loop.create_task(ask())
    desk.settle()
    assert host.geometry() == region.rect()
    sheet = host.current
    assert sheet is not None
    QTest.keyClick(sheet, Qt.Key.Key_Escape)
    desk.run(asyncio.wait_for(task, 1))
    assert answers == ["no"]
    assert not host.isVisible()


def test_a_second_question_answers_the_first_one_safely(desk: Desk) -> None:
    region, host = _host(desk)
    answers: list[str] = []

    async def ask(title: str) -> None:
        answers.append(f"{title} {await host.ask(_Question(title=title))}")

    first = desk.loop.create_task(ask("first"))
    desk.settle()
    second = desk.loop.create_task(ask("second"))
    desk.settle()
    assert host.current is not None
    assert host.current.accessibleName() == "second"
    host.current.answered.emit("yes")
    desk.run(asyncio.wait_for(asyncio.gather(first, second), 1))
    assert answers == ["first no", "second yes"]
    region.hide()


def test_the_page_and_the_loop_go_on_under_a_sheet(desk: Desk) -> None:
    region, host = _host(desk)
    task = desk.loop.create_task(host.ask(_Question(title="Question")))
    desk.settle()
    assert QApplication.activeModalWidget() is None
    host.dismiss()
    desk.run(asyncio.wait_for(task, 1))
    region.hide()
