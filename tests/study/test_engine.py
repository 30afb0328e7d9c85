"""The engine: every cell once, after a kill nothing again, one display."""

from contextlib import suppress

import pytest
from studies import CONTENT, MadeUp, plan_of

from hqdm.study.engine import STUDY, Engine
from hqdm.utils.errors import HQDMError
from hqdm.utils.progress import silent


def run(plan, most=1000, progress=silent):
    workers = MadeUp(plan.store, most)
    with suppress(KeyboardInterrupt):
        Engine(plan, workers, progress).run()
    return workers.done


def test_every_cell_is_completed_once(tmp_path):
    plan = plan_of(tmp_path)
    done = run(plan)
    assert len(done) == len(set(done)) == 6
    assert run(plan) == []


@pytest.mark.parametrize("most", [0, 1, 5])
def test_after_a_kill_only_the_rest_is_computed(tmp_path, most):
    plan = plan_of(tmp_path)
    first, second = run(plan, most), run(plan)
    assert len(first) == most
    assert len(second) == 6 - most
    assert not set(first) & set(second)


def test_what_is_added_is_computed_alone(tmp_path):
    run(plan_of(tmp_path))
    assert len(run(plan_of(tmp_path, seeds=[0, 1, 2, 3]))) == 2
    data = {**CONTENT["data"], "mnist": {"data": {"name": "mnist"}}}
    assert len(run(plan_of(tmp_path, data=data))) == 6


def test_models_of_the_same_configuration_share_cells(tmp_path):
    same = {"again": {"of": "circuits"}}
    assert len(run(plan_of(tmp_path, controls=same))) == 3


def test_the_display_counts_the_steps_that_are_left(tmp_path):
    shown = []
    run(plan_of(tmp_path, seeds=[0]))
    run(plan_of(tmp_path), progress=lambda task, done, total: shown.append((task, done, total)))
    counts = [(done, total) for task, done, total in shown if task == STUDY]
    assert counts == [(4 * k, 16) for k in range(5)]


class Later(MadeUp):
    """Workers that report steps, and complete a cell at the next question for them."""

    def __init__(self, store):
        super().__init__(store)
        self.begun = []

    def submit(self, cell):
        future = super().submit(cell)
        self.begun.append(cell)
        return future

    def steps(self):
        return [(cell.name, 1) for cell in self.begun]


def test_steps_of_cells_at_work_are_shown(tmp_path):
    shown = []
    plan = plan_of(tmp_path, seeds=[0], controls=...)
    Engine(plan, Later(plan.store), lambda *call: shown.append(call)).run()
    name = "digits, circuits, seed 0"
    assert shown == [(STUDY, 0, 4), (name, 1, 4), (STUDY, 1, 4), (name, 4, 4), (STUDY, 4, 4)]


def test_the_error_of_a_cell_ends_the_study(tmp_path):
    plan = plan_of(tmp_path)

    class Failing(MadeUp):
        def submit(self, cell):
            future = super().submit(cell)
            future = type(future)()
            future.set_exception(HQDMError("the disk is full"))
            return future

    with pytest.raises(HQDMError, match="the disk is full"):
        Engine(plan, Failing(plan.store), silent).run()
