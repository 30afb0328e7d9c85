"""Ray: a cluster of two nodes on this machine, one of which is killed; locks of lost machines."""

import json
import sys
import threading
import time

import pytest
from studies import plan_of

from hqdm.cli.commands.study import resolve, train
from hqdm.storage.claims import LOCK_FILE
from hqdm.study.cells import Store
from hqdm.study.chains import plan
from hqdm.study.engine import Engine
from hqdm.study.file import parse_study
from hqdm.study.ray_workers import ray_cluster, release_lost
from hqdm.study.workers import InThisProcess
from hqdm.utils.errors import HQDMError
from hqdm.utils.progress import silent

CONTENT = {
    "data": {"digits": {"data": {"name": "digits", "batch_size": 16, "limit": 48}}},
    "models": {
        "small": {
            "model": {"network": {"dim": 4, "mults": [1]}},
            "trainer": {"accelerator": "cpu", "check_val_every_n_epoch": 40},
            "checkpoint_every": 5,
        }
    },
    "seeds": [0, 1, 2],
    "steps": 300,
}


@pytest.fixture
def cell(tmp_path):
    return plan_of(tmp_path).cells("digits", "circuits", None)[0]


@pytest.mark.parametrize(("host", "kept"), [("lost", False), ("here", True)])
def test_the_lock_of_a_lost_machine_is_removed(tmp_path, cell, host, kept):
    store = Store(tmp_path)
    lock = store.run(cell) / LOCK_FILE
    release_lost(cell, store, {"here"})  # there is none
    lock.parent.mkdir(parents=True)
    lock.write_text(json.dumps({"pid": 1, "host": host}))
    release_lost(cell, store, {"here"})
    assert lock.exists() is kept


def test_without_ray_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with (
        pytest.raises(HQDMError, match="pip install 'hqdm\\[ray\\]'"),
        ray_cluster("auto", Store(tmp_path), train),
    ):
        pass


def planned(folder):
    return plan(parse_study(CONTENT, folder / "s.yaml"), Store(folder), resolve)


@pytest.mark.slow
def test_a_node_killed_in_the_middle_loses_nothing(tmp_path):
    """The cells of its study have the results of a study in one process; one began twice."""
    pytest.importorskip("ray", reason="hqdm[ray]")
    from ray.cluster_utils import Cluster

    here, there = planned(tmp_path / "here"), planned(tmp_path / "there")
    Engine(here, InThisProcess(here.store, train), silent).run()
    cells = there.cells("digits", "small", None)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    node = cluster.add_node(num_cpus=1)

    def kill():
        while sum((there.store.run(cell) / "last.ckpt").exists() for cell in cells) < 2:
            time.sleep(0.1)
        cluster.remove_node(node, allow_graceful=False)

    killer = threading.Thread(target=kill)
    try:
        with ray_cluster(cluster.address, there.store, train) as workers:
            killer.start()
            Engine(there, workers, silent).run()
        killer.join()
    finally:
        cluster.shutdown()
    starts = []
    for cell in cells:
        first, second = (p.store.result(cell) for p in (here, there))
        assert first["scores"] == second["scores"]
        assert first["curve"] == second["curve"]
        file = there.store.run(cell) / "provenance.json"
        starts.append(len(json.loads(file.read_text())["starts"]))
    assert sorted(starts) == [1, 1, 2]
