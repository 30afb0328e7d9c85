"""Workers: this process, and what holds other processes together."""

import multiprocessing
import signal
import threading
from concurrent.futures.process import BrokenProcessPool

import pytest
import torch
from studies import plan_of

from hqdm.data import sets
from hqdm.study import workers
from hqdm.study.workers import InThisProcess, processes
from hqdm.utils.errors import HQDMError, Interrupted


@pytest.fixture
def cell(tmp_path):
    return plan_of(tmp_path).cells("digits", "circuits", None)[0]


def test_this_process_completes_a_cell_at_once(tmp_path, cell, monkeypatch):
    called, steps = [], []
    monkeypatch.setattr(
        workers, "complete", lambda cell, store, fit, stepped: (called.append(cell), stepped(3))
    )
    here = InThisProcess(plan_of(tmp_path).store, None, lambda *step: steps.append(step))
    assert here.submit(cell).done()
    assert called == [cell]
    assert steps == [(cell, 3)]
    assert here.steps() == ()


@pytest.mark.parametrize("closed", [True, False])
def test_a_process_ends_itself_with_its_parent(monkeypatch, tmp_path, cell, closed):
    """Also if a training turned the signal into a checkpoint: no further cell is taken."""
    killed, left = [], []
    monkeypatch.setattr(workers, "_ended", threading.Event())
    monkeypatch.setattr(workers.os, "_exit", left.append)
    monkeypatch.setattr(workers.os, "kill", lambda pid, signum: killed.append(signum))
    ours, theirs = multiprocessing.Pipe()
    if closed:
        ours.close()
    else:
        ours.send(None)
    workers._end_with(theirs)
    assert killed == [signal.SIGTERM] * closed

    def stopped(*_):
        raise Interrupted(signal.SIGTERM, tmp_path)

    monkeypatch.setattr(workers, "complete", stopped)
    with pytest.raises(Interrupted):
        workers._complete(cell, plan_of(tmp_path).store, None)
    assert left == [0] * closed


def test_a_process_keeps_the_images_of_its_cells(monkeypatch):
    monkeypatch.setattr(sets, "_kept", None)
    monkeypatch.setattr(workers, "_reports", None)
    ours, theirs = multiprocessing.Pipe()
    ours.send(None)  # ends the thread that waits for the end of the parent
    workers._start(theirs, multiprocessing.Queue(), torch.get_num_threads(), ())
    assert isinstance(sets._kept, sets.KeptImages)


def test_a_killed_process_is_one_line(tmp_path, cell):
    with (
        pytest.raises(HQDMError, match="a process of the study was killed, or its memory was full"),
        processes(2, plan_of(tmp_path).store, print),
    ):
        raise BrokenProcessPool


def test_steps_go_to_the_parent(cell, monkeypatch):
    queue = multiprocessing.get_context("spawn").Queue()
    monkeypatch.setattr(workers, "_reports", queue)
    workers._stepped(cell)(5)
    assert queue.get(timeout=30) == ("digits, circuits, seed 0", 5)
    queue.close()
    queue.join_thread()
