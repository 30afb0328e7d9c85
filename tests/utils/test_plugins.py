"""Files of users: loaded once, refused in one line, never run unasked."""

import pickle
import sys
from types import ModuleType

import pytest

from hqdm.utils import plugins
from hqdm.utils.errors import HQDMError
from hqdm.utils.plugins import load_plugin


@pytest.fixture
def write(tmp_path):
    names = []

    def make(name, text):
        names.append(name)
        (tmp_path / f"{name}.py").write_text(text)
        return tmp_path / f"{name}.py"

    path = list(sys.path)
    yield make
    sys.path[:] = path
    for name in names:
        sys.modules.pop(name, None)


def test_a_file_is_run_once_and_its_classes_pickle(write):
    file = write(
        "plugin_once",
        "import builtins\nbuiltins.runs = getattr(builtins, 'runs', 0) + 1\nclass Thing: pass\n",
    )
    first, second = load_plugin(file), load_plugin(str(file))
    assert first is second
    import builtins

    assert builtins.runs == 1
    del builtins.runs
    assert isinstance(pickle.loads(pickle.dumps(first.Thing())), first.Thing)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = 1\ny = z\n", r"NameError: name 'z' is not defined, line 2"),
        ("def f(:\n", r"\(SyntaxError: invalid syntax, line 1\): correct the file"),
        (
            "import plugin_helper_broken\n",
            r"SyntaxError: .*plugin_helper_broken.py, line 2\), line 1",
        ),
        ("import no_such_thing_at_all\n", "ModuleNotFoundError"),
    ],
)
def test_a_file_that_fails_is_named_with_its_line(write, text, said):
    write("plugin_helper_broken", "x = 1\ndef f(:\n")
    file = write("plugin_broken", text)
    with pytest.raises(HQDMError, match=said) as error:
        load_plugin(file)
    assert "\n" not in str(error.value)
    assert "plugin_broken" not in sys.modules


def test_only_python_files_are_taken(tmp_path):
    with pytest.raises(HQDMError, match="there is no plugin .*nothing.py"):
        load_plugin(tmp_path / "nothing.py")
    (tmp_path / "text.txt").write_text("x = 1")
    with pytest.raises(HQDMError, match="expected a Python file"):
        load_plugin(tmp_path / "text.txt")


def test_the_name_of_another_module_is_refused(write, tmp_path):
    """Its import would replace that module for everybody."""
    (tmp_path / "json.py").write_text("def helper(): return 1")
    with pytest.raises(HQDMError, match="json.py has the name of another module: rename"):
        load_plugin(tmp_path / "json.py")
    import json

    assert json.loads("1") == 1


def test_two_files_of_one_name_are_not_mixed(write, tmp_path, forget):
    first = write("plugin_twin", "x = 1\n")
    (tmp_path / "other").mkdir()
    second = tmp_path / "other" / "plugin_twin.py"
    second.write_text("x = 1\n")
    assert load_plugin(first) is load_plugin(second)
    second.write_text("x = 2\n")
    with pytest.raises(HQDMError, match="differs from .*plugin_twin.py, which is loaded"):
        load_plugin(second)


@pytest.mark.parametrize("text", ["import sys\nsys.exit(3)\n", "raise ValueError('a\\nb')\n"])
def test_an_exit_or_a_long_message_is_one_line(write, text):
    with pytest.raises(HQDMError) as error:
        load_plugin(write("plugin_ends", text))
    assert "\n" not in str(error.value)
    assert "cannot be loaded" in str(error.value)


@pytest.mark.parametrize("error", [HQDMError("no"), KeyError("no"), KeyboardInterrupt()])
def test_a_file_that_fails_leaves_no_module(write, monkeypatch, error):
    """The second time it is run again; an interruption goes on as one."""
    monkeypatch.setattr("builtins.failure", error, raising=False)
    file = write("plugin_fails", "x = 1\nimport builtins\nraise builtins.failure\n")
    for before in (None, _module_of(file)):
        if before is not None:
            monkeypatch.setitem(sys.modules, "plugin_fails", before)
        expected = KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else HQDMError
        with pytest.raises(expected):
            load_plugin(file)
        assert sys.modules.get("plugin_fails") is before
        assert file.resolve() not in plugins._LOADED
        assert str(file.parent) == sys.path[-1]


def _module_of(file):
    module = ModuleType(file.stem)
    module.__file__ = str(file)
    return module


def test_an_interruption_stops_the_command(write, hqdm):
    file = write("plugin_interrupted", "raise KeyboardInterrupt\n")
    outcome = hqdm("--plugin", file, "--version")
    assert (outcome.code, outcome.out, outcome.err) == (130, "", "stopped\n")


def test_a_file_beside_is_found_as_by_a_script(write, tmp_path, forget):
    """At once and later; before other modules while the plugin is loaded, after them from then."""
    write("plugin_part", "def number():\n    import plugin_later\n    return plugin_later.n\n")
    write("plugin_later", "n = 3\n")
    module = load_plugin(write("plugin_whole", "from plugin_part import number\n"))
    assert sys.path[0] != str(tmp_path)
    assert module.number() == 3
    assert plugins.helpers_of(tmp_path / "plugin_whole.py") == [
        tmp_path / "plugin_part.py",
        tmp_path / "plugin_later.py",
    ]


def test_helpers_of_one_name_are_not_mixed(write, tmp_path, forget):
    """The second plugin would get the helper of the first."""
    write("plugin_part", "n = 1\n")
    load_plugin(write("plugin_one", "import plugin_part\n"))
    other = tmp_path / "other"
    other.mkdir()
    (other / "plugin_two.py").write_text("import plugin_part\n")
    (other / "plugin_part.py").write_text("n = 2\n")
    with pytest.raises(HQDMError, match="plugin_two.py imports plugin_part.py, but another module"):
        load_plugin(other / "plugin_two.py")
    (other / "plugin_part.py").write_text("n = 1\n")  # a copy, as beside a saved model
    assert load_plugin(other / "plugin_two.py").plugin_part.n == 1
