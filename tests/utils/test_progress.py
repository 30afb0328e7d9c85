"""Progress: bars come and go on a terminal, and nothing is written elsewhere."""

import pytest

from hqdm.utils.progress import progress_bar, silent, stepwise


@pytest.fixture
def terminal(monkeypatch):
    """The captured output counts as a terminal."""
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")


def test_nothing_is_written_where_there_is_no_terminal(monkeypatch, capsys):
    monkeypatch.setenv("TTY_COMPATIBLE", "0")
    with progress_bar() as progress:
        assert progress is silent
        progress("images", 1, 2)
    assert capsys.readouterr().out == ""


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


def test_bars_and_lines_reach_the_terminal(terminal, capsys):
    with progress_bar() as progress:
        progress("images", 1, 4)
        print("one line")
    out = capsys.readouterr().out
    assert "images" in out
    assert "1/4" in out
    assert "one line" in out


def test_steps_are_counted_whatever_they_bring():
    told = []
    step = stepwise(lambda *report: told.append(report), "steps", 2)
    assert told == [("steps", 0, 2)]
    step()
    step(7, "ignored")
    assert told[1:] == [("steps", 1, 2), ("steps", 2, 2)]
