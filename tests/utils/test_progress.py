"""Progress: bars come and go on a terminal, lines elsewhere, and both have an estimate."""

import pytest

from hqdm.utils import progress as bars
from hqdm.utils.progress import LINE_SECONDS, Task, progress_bar, stepwise


@pytest.fixture
def terminal(monkeypatch):
    """The captured output counts as a terminal."""
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")


@pytest.fixture
def clock(monkeypatch):
    """A clock that runs when it is told to: a list with the seconds."""
    now = [100.0]
    monkeypatch.setattr(bars.time, "monotonic", lambda: now[0])
    return now


def test_short_work_writes_nothing_where_there_is_no_terminal(monkeypatch, capsys, clock):
    monkeypatch.setenv("TTY_COMPATIBLE", "0")
    with progress_bar() as progress:
        for done in range(5):
            progress("images", done, 4)
            clock[0] += 0.24 * LINE_SECONDS
    assert capsys.readouterr() == ("", "")


def test_long_work_writes_lines_where_there_is_no_terminal(monkeypatch, capsys, clock):
    """One per interval, of all tasks in progress; 9 of 10 steps of 0.4 intervals remain, ..."""
    monkeypatch.setenv("TTY_COMPATIBLE", "0")
    with progress_bar() as progress:
        progress("images", 0, 20)
        for step in range(11):
            progress("ddim", step, 10)
            clock[0] += 0.4 * LINE_SECONDS
        progress("images", 10, 20)
        clock[0] += LINE_SECONDS
        progress("features", 0, 7)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "images 0/20, ddim 3/10 (0:00:56 left)",
        "images 0/20, ddim 6/10 (0:00:32 left)",
        "images 0/20, ddim 9/10 (0:00:08 left)",
        "images 10/20 (0:01:08 left), features 0/7",
    ]


def test_the_estimate_is_the_time_per_step_times_the_steps_left(clock):
    task = Task(10)
    assert task.remaining is None
    assert task.remaining_text == "-:--:--"
    clock[0] += 60
    task.advance(1)
    assert task.remaining == pytest.approx(540)
    clock[0] += 30  # within a step the time runs down
    task.advance(1)
    assert task.remaining == pytest.approx(510)
    clock[0] += 10
    task.advance(2)
    assert task.remaining == pytest.approx(50 * 8)
    clock[0] += 3600
    assert task.remaining == 0
    task.advance(10)
    assert task.remaining_text == "0:00:00"


@pytest.fixture
def shown(monkeypatch):
    """The bars that are on the terminal: `(task, done, total)` each, in their order."""
    made = []
    monkeypatch.setattr(
        "rich.progress.Progress.start", lambda bars: made.append(bars) if not made else None
    )

    def read():
        return [(task.description, task.completed, task.total) for task in made[0].tasks]

    return read


def test_a_task_has_a_bar_until_it_is_done(terminal, shown):
    with progress_bar() as progress:
        assert shown() == []
        progress("images", 0, 4)
        for batch in (1, 2):
            for step in range(4):
                progress("ddim", step, 3)
                bars = [("images", 2 * batch - 2, 4), ("ddim", step, 3)]
                assert shown() == bars[: 2 if step < 3 else 1]
            progress("images", 2 * batch, 4)
        assert shown() == []


def test_bars_and_lines_reach_the_terminal(terminal, capsys, clock):
    """A step takes longer than the 30 seconds from which Rich estimates."""
    with progress_bar() as progress:
        progress("images", 0, 4)
        clock[0] += 40
        progress("images", 1, 4)
        clock[0] += 40
        progress("images", 2, 4)
        print("one line")
    out = capsys.readouterr().out
    assert "images" in out
    assert "2/4" in out
    assert "0:01:20" in out
    assert "one line" in out


def test_steps_are_counted_whatever_they_bring():
    told = []
    step = stepwise(lambda *report: told.append(report), "steps", 2)
    assert told == [("steps", 0, 2)]
    step()
    step(7, "ignored")
    assert told[1:] == [("steps", 1, 2), ("steps", 2, 2)]
