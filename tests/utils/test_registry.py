"""Registries: names, refusals, what installed packages announce, what a model needs."""

import sys
from functools import partial
from importlib.metadata import EntryPoint

import pytest

from hqdm.utils import registry as module
from hqdm.utils.errors import HQDMError
from hqdm.utils.registry import Registry, requirements


@pytest.fixture
def shapes(monkeypatch):
    monkeypatch.setattr(Registry, "all", [])
    return Registry("shape")


class Circle:
    pass


class Square:
    pass


def test_names_stand_for_objects(shapes):
    shapes.register("circle", Circle)
    assert shapes["circle"] is Circle
    assert list(shapes) == ["circle"]
    assert len(shapes) == 1
    assert "circle" in shapes
    assert shapes.name_of(Circle) == "circle"
    assert shapes.name_of(Square) is None


def test_an_unknown_name_is_refused_with_the_nearest(shapes):
    shapes.register("circle", Circle)
    with pytest.raises(HQDMError, match="unknown shape 'cirkle': expected one of circle .did you"):
        shapes["cirkle"]


def test_a_definition_may_be_repeated_but_not_replaced(shapes):
    shapes.register("circle", Circle)
    shapes.register("circle", type("Circle", (), {"__module__": __name__}))  # a cell run again
    with pytest.raises(HQDMError, match="the shape 'circle' is already defined by"):
        shapes.register("circle", Square)


def test_a_class_of_the_same_name_in_another_module_is_another_definition(shapes):
    shapes.register("circle", Circle)
    other = type("Circle", (), {"__module__": "somewhere"})
    with pytest.raises(HQDMError, match=f"already defined by {__name__}: choose another name"):
        shapes.register("circle", other)
    assert shapes["circle"] is Circle


def test_installed_packages_announce_theirs(shapes, monkeypatch, tmp_path):
    (tmp_path / "announced_shapes.py").write_text(
        "from hqdm.utils.registry import Registry\nRegistry.all[0].register('dot', object)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    entry = EntryPoint("mine", "announced_shapes", module.ENTRY_POINT_GROUP)
    monkeypatch.setattr(module, "announced", lambda: (entry,))
    monkeypatch.setattr(module, "_loaded", set())
    assert "dot" in shapes
    assert shapes["dot"] is object
    # It is loaded once: a name that is still missing is not looked for in it again.
    monkeypatch.setattr(EntryPoint, "load", lambda self: pytest.fail("loaded twice"))
    assert "dash" not in shapes
    assert module._loaded == {"announced_shapes"}
    del sys.modules["announced_shapes"]


def test_a_broken_package_is_named(shapes, monkeypatch):
    entry = EntryPoint("mine", "no_such_module_anywhere", module.ENTRY_POINT_GROUP)
    monkeypatch.setattr(module, "announced", lambda: (entry,))
    monkeypatch.setattr(module, "_loaded", set())
    with pytest.raises(HQDMError, match="the installed plugin 'mine'.*cannot be loaded"):
        shapes["dot"]


def test_requirements_are_the_users_definitions_that_are_named(shapes):
    shapes.register("circle", Circle)
    shapes.register("square", partial(Square))
    shapes.register("own", Registry)  # of this package
    config = {"parts": [{"kind": "circle"}, "own"], "other": 3}
    (need,) = requirements(config)
    assert (need.kind, need.name, need.file.name) == ("shape", "circle", "test_registry.py")
    assert need.importable
    (need,) = requirements("square")
    assert need.file.name == "test_registry.py"


def test_a_definition_of_a_script_is_not_copied(shapes):
    shapes.register("circle", type("Circle", (), {"__module__": "__main__"}))
    (need,) = requirements("circle")
    assert need.record == {"kind": "shape", "name": "circle", "file": None}
