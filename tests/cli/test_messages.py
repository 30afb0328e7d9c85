"""Complaints of the configuration parser, in one line."""

import pytest

from hqdm.cli.messages import readable

KEYS = ["data.name", "data.batch_size", "model.lr", "model.network.dim", "trainer.max_epochs"]


@pytest.mark.parametrize(
    ("message", "line"),
    [
        (
            "Group 'model' does not accept option 'network.dimm'",
            "unknown key model.network.dimm: did you mean model.network.dim?",
        ),
        ("Option 'modell' is not accepted", "unknown key modell: did you mean model?"),
        ("Option 'lr' is not accepted", "unknown key lr: did you mean model.lr?"),
        ("Option 'zzz' is not accepted", "unknown key zzz: `hqdm fit --help` lists all"),
        (
            "unrecognized arguments: --data.nam x",
            "unknown option --data.nam: did you mean --data.name?",
        ),
        (
            "Parser key \"model.lr\":\n  Expected a <class 'float'>. Got value: fast",
            "model.lr: expected a number, got fast",
        ),
        (
            "Parser key \"data.name\":\n  Expected a <class 'str'>. Got value: None",
            "data.name: expected text, got null",
        ),
        (
            'Parser key "seed":\n  Does not validate against any of the Union subtypes\n'
            "  Subtypes: [<class 'int'>, typing.Literal['a', 'b'], <class 'NoneType'>]\n"
            "  Errors:\n    - Expected a <class 'int'>\n  Given value type: <class 'str'>\n"
            "  Given value: x",
            "seed: expected a whole number or 'a' or 'b' or null, got x",
        ),
        (
            'Parser key "k":\n  - Expected a path but x either not accessible or invalid\n'
            "  - Expected a <class 'dict'>. Got value: x",
            "k: expected keys with values, got x",
        ),
        (
            "Call to compute_fn of link 'f(a) --> b' with args (-1) failed: a: too small",
            "a: too small",
        ),
        (
            'Parser key "k":\n  - Expected a path but {a: 3} either not accessible or invalid\n'
            "  - Not a valid subclass of Hybrid. Got value: 3\n  Subclass types expect one of:\n"
            "  - a class path (str)",
            "k: expected the keys of a hybrid part, such as groups and ansatz, got 3",
        ),
        (
            'Parser key "k":\n  - Expected a path but {a: 3} either not accessible or invalid\n'
            "  - b: expected a number, got x",
            "k: b: expected a number, got x",
        ),
        (
            "Parser key \"model.lr\":\n  Expected a <class 'float'>. Got value: -Infinity",
            "model.lr: expected a finite number, got -Infinity",
        ),
        (
            'Parser key "k":\n  Does not validate against any of the Union subtypes\n'
            "  Subtypes: [tuple[float, float], <class 'NoneType'>]\n  Errors:\n"
            "    - Expected a <class 'NoneType'>\n  Given value type: <class 'str'>\n"
            "  Given value: x",
            "k: expected a list or null, got x",
        ),
        (
            'Parser key "k":\n  - b: Does not validate against any of the Union subtypes\n'
            "  Subtypes: [<class 'int'>, <class 'NoneType'>]\n  Errors:\n"
            "    - Expected a <class 'int'>\n  Given value type: <class 'str'>\n  Given value: ",
            "k: b: expected a whole number or null, got ''",
        ),
        ("Something else\n  on two lines", "Something else on two lines"),
    ],
)
def test_messages_are_readable(message, line):
    assert readable(message, KEYS) == line
