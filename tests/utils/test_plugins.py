"""Files of users: loaded once, refused in one line, never run unasked."""

import pickle
import sys

import pytest

from hqdm.utils.errors import HQDMError
from hqdm.utils.plugins import load_plugin


@pytest.fixture
def write(tmp_path):
    names = []

    def make(name, text):
        names.append(name)
        (tmp_path / f"{name}.py").write_text(text)
        return tmp_path / f"{name}.py"

    yield make
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
        ("def f(:\n", r"SyntaxError.*line 1"),
        ("import no_such_thing_at_all\n", "ModuleNotFoundError"),
    ],
)
def test_a_file_that_fails_is_named_with_its_line(write, text, said):
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
