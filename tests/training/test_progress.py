"""Progress of training: epochs from 1, the rest of the whole run, within the terminal."""

import io
import math
import re

import pytest
from rich.console import Console

from hqdm.cli.commands.fit import TrainingCLI
from hqdm.training import progress as module
from hqdm.training.length import Length
from hqdm.training.progress import Status, TrainingProgress, duration, fitting, speed
from hqdm.utils.errors import HQDMError

METRICS = {"train_loss": 0.031249, "val_loss": 0.5}


def status(**changes):
    state = {
        "epoch": 12,
        "step": 5620,
        "length": Length(22981, 49),
        "rate": 12.34,
        "left": 3725.0,
        "metrics": METRICS,
    }
    return Status(**{**state, **changes})


def plain(text):
    """A text without the control characters of a terminal."""
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text)


def shown(thing, width):
    written = io.StringIO()
    Console(file=written, width=width, force_terminal=True).print(thing)
    return plain(written.getvalue()).splitlines()


def test_the_line_holds_the_whole_state():
    expected = "Epoch 12/49  step 5620/22981  1:02:05 left  loss 0.03125  12.3 steps/s  val 0.5"
    assert status().line() == expected
    endless = status(length=Length(math.inf, math.inf), left=math.inf, rate=math.nan, metrics={})
    assert endless.line() == "Epoch 12  step 5620"


@pytest.mark.parametrize("width", [20, 40, 60, 80, 100, 200])
def test_the_line_is_never_wider_than_the_terminal(width):
    """The most important parts are kept, and a bar is drawn where there is room."""
    for state in (status(), status(epoch=1, step=3, length=Length(60, 2))):
        (line,) = shown(state, width)
        assert len(line.rstrip()) <= width
        parts = [part for part in state.parts() if part in line]
        assert parts == state.parts()[: len(parts)]
        assert re.sub("[━╸╺]+", "", line).split() == " ".join(parts).split()
        # At 60 columns: epoch, step, the time that is left, and the loss.
        assert len(parts) >= {20: 1, 40: 2}.get(width, 4)
    (wide,) = shown(status(), 200)
    bar = re.search("[━╸╺]+", wide)[0]
    assert len(bar) == 40


def test_texts_that_do_not_fit_are_left_out_from_the_end():
    assert fitting(["ab", "cd", "e"], 6) == ["ab", "cd"]
    assert fitting(["ab", "cd", "e"], 9) == ["ab", "cd", "e"]
    assert fitting(["abc"], 1) == ["abc"]


def test_times_and_speeds_in_words():
    assert [duration(s) for s in (-1, 0, 0.2, 61, 360_000)] == [
        "0:00:00",
        "0:00:00",
        "0:00:01",
        "0:01:01",
        "100:00:00",
    ]
    assert (speed(12.34), speed(0.25)) == ("12.3 steps/s", "4 s/step")


@pytest.fixture
def clock(monkeypatch):
    """A clock that advances by a second per look."""
    ticks = iter(range(10**6))
    monkeypatch.setattr(module.time, "monotonic", lambda: float(next(ticks)))


def run(config, out, console, *args):
    cli = TrainingCLI(["--config", str(config), "--out", str(out), *map(str, args)])
    (bar,) = (c for c in cli.trainer.callbacks if isinstance(c, TrainingProgress))
    bar._console = console
    cli.run()


@pytest.fixture
def terminal(monkeypatch):
    """A terminal of 80 columns; the standard output is left to pytest."""
    monkeypatch.setattr("rich.live.Live._enable_redirect_io", lambda live: None)
    return Console(file=io.StringIO(), width=80, force_terminal=True, force_interactive=True)


def test_a_terminal_shows_one_line_and_the_bars_of_parts(tiny, tmp_path, clock, terminal):
    run(tiny(sample_every=1), tmp_path / "run", terminal)
    text = plain(terminal.file.getvalue())
    lines = [line for line in re.split(r"[\r\n]+", text) if line.strip()]
    assert max(map(len, lines)) <= 80
    seen = re.findall(r"Epoch (\d+/\d+)  step (\d+/\d+)", text)
    assert list(dict.fromkeys(seen)) == [(f"{1 + i // 3}/2", f"{i + 1}/6") for i in range(6)]
    assert re.search(r"validation  [━╸╺]+  \d/1", text)
    assert re.search(r"ddim  [━╸╺]+  \d+/25", text)
    assert lines[-1].startswith("Epoch 2/2  step 6/6  ━")
    assert re.search(r"\d:\d\d:\d\d left", text)


@pytest.mark.slow
def test_a_file_gets_lines_at_intervals(tiny, tmp_path, clock, monkeypatch):
    """Without control characters; the times are those of a run of a step per look at the clock."""
    monkeypatch.setattr(module, "LINE_EVERY", 4.0)
    written = io.StringIO()
    run(tiny(), tmp_path / "run", Console(file=written, width=80), "--trainer.max_epochs", 4)
    lines = written.getvalue().splitlines()
    assert written.getvalue().replace("\n", "").isprintable()
    steps = [int(re.search(r"step (\d+)/12  ", line)[1]) for line in lines]
    assert steps[0] == 1
    assert steps[-1] == 12
    assert 3 <= len(steps) < 12
    rated = re.fullmatch(
        r"Epoch 2/4  step (\d+)/12  0:00:(\d\d) left  loss \S+  (\S+) (s/step|steps/s)  val \S+",
        next(line for line in lines if line.startswith("Epoch 2/4")),
    )
    assert rated, lines
    per_step = float(rated[3]) if rated[4] == "s/step" else 1 / float(rated[3])
    assert int(rated[2]) == pytest.approx((12 - int(rated[1])) * per_step, abs=1.1)


@pytest.mark.slow
def test_a_resumed_run_is_estimated_from_where_it_resumes(tiny, tmp_path, clock, monkeypatch):
    monkeypatch.setattr(module, "LINE_EVERY", 0.0)
    out, config = tmp_path / "run", tiny()
    run(config, out, Console(file=io.StringIO()), "--trainer.max_steps", 4)
    written = io.StringIO()
    more = ("--resume", out / "last.ckpt", "--trainer.max_steps", 8, "--trainer.max_epochs", -1)
    run(config, out, Console(file=written, width=200), *more)
    lines = written.getvalue().splitlines()
    assert [line.partition("  loss")[0].split("  ")[:2] for line in lines[:3]] == [
        ["Epoch 2/3", "step 5/8"],
        ["Epoch 2/3", "step 6/8"],
        ["Epoch 3/3", "step 7/8"],
    ]
    # Two looks at the clock per step, whatever the step at which the run resumed.
    assert "0:00:04 left" in lines[1]
    assert "2 s/step" in lines[1]


@pytest.mark.slow
def test_no_limit_is_no_number(tiny, tmp_path, hqdm):
    """`max_epochs` of -1 with a limit of time, in a file."""
    outcome = hqdm(
        *("fit", "--config", tiny(), "--out", tmp_path / "run", "--trainer.max_epochs", -1),
        *("--trainer.max_time", "00:00:00:01"),
    )
    assert outcome.code == 0
    assert "-" not in outcome.out.replace("e-", "")
    assert outcome.out.startswith("Epoch 1  step 1  0:00:01 left  loss ")


@pytest.mark.slow
def test_the_bar_can_be_left_out_or_replaced(tiny, tmp_path, hqdm):
    quiet = ("fit", "--config", tiny(), "--trainer.enable_progress_bar", "false")
    assert hqdm(*quiet, "--out", tmp_path / "a").out == ""
    other = tiny(trainer__callbacks=[{"class_path": "lightning.pytorch.callbacks.TQDMProgressBar"}])
    cli = TrainingCLI(["--config", str(other), "--out", str(tmp_path / "b")])
    assert type(cli.trainer.progress_bar_callback).__name__ == "TQDMProgressBar"


def test_the_terminal_is_left_in_order_after_an_error(tiny, tmp_path, monkeypatch, terminal):
    def fail(*_):
        raise HQDMError("broken")

    monkeypatch.setattr("hqdm.training.module.DiffusionModule.validation_step", fail)
    with pytest.raises(HQDMError, match="broken"):
        run(tiny(), tmp_path / "run", terminal)
    text = terminal.file.getvalue()
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h") == 1  # the cursor, hidden and shown
