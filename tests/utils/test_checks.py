"""Checks of numbers, of options by their declared types, and of devices."""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import pytest
import torch

from hqdm.utils.checks import check_types, device_named, dotted, finite, whole
from hqdm.utils.errors import HQDMError


def test_whole_numbers_of_any_library_pass():
    for value in (3, np.int64(3), np.uint8(3), torch.tensor(3)):
        number = whole("n", value, 3)
        assert number == 3
        assert type(number) is int


@pytest.mark.parametrize("value", [2, -1, 3.0, "3", None, True, [3], float("nan"), np.float32(4)])
def test_what_is_no_whole_number_in_range_is_refused(value):
    with pytest.raises(HQDMError, match="^n needs a whole number from 3, got"):
        whole("n", value, 3)


def test_finite_numbers_pass():
    assert finite("scale", 2) == finite("scale", np.float32(2)) == 2.0


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "2", None, True, 2j, [2.0]])
def test_what_is_no_finite_number_is_refused(value):
    with pytest.raises(HQDMError, match="^scale needs a finite number, got"):
        finite("scale", value)


HINTS = {
    "whole": int,
    "share": float,
    "flag": bool,
    "text": str,
    "maybe": int | None,
    "groups": int | Literal["all"],
    "widths": Sequence[int],
    "pair": tuple[float, float],
    "parts": Mapping[str, object],
    "factors": dict[str, float],
    "device": torch.device,
}


def test_values_of_the_declared_types_pass():
    check_types(
        {
            "whole": 3,
            "share": 3,  # a whole number is a number
            "flag": True,
            "text": "x",
            "maybe": None,
            "groups": "all",
            "widths": [1, 2],
            "pair": (0.5, 1),
            "parts": {"a": 3},
            "factors": {"a": 3.5},
            "device": "cpu",  # not a plain type: not checked
            "another": object(),
        },
        HINTS,
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"whole": 3.0}, "whole: expected a whole number, got 3.0"),
        ({"whole": True}, "whole: expected a whole number, got True"),
        ({"share": "x"}, "share: expected a number, got 'x'"),
        ({"flag": 1}, "flag: expected true or false, got 1"),
        ({"text": None}, "text: expected text, got None"),
        ({"maybe": "x"}, "maybe: expected a whole number or null, got 'x'"),
        ({"groups": "some"}, "groups: expected a whole number or all, got 'some'"),
        ({"widths": 3}, "widths: expected a list of whole numbers, got 3"),
        ({"widths": "12"}, "widths: expected a list of whole numbers, got '12'"),
        ({"widths": [1, "2"]}, r"widths: expected a list of whole numbers, got \[1, '2'\]"),
        ({"pair": [0.5, None]}, r"pair: expected a list of numbers, got \[0.5, None\]"),
        ({"parts": [1]}, r"parts: expected keys with values, got \[1\]"),
        ({"factors": {"a": "b"}}, "factors: expected keys with values, got {'a': 'b'}"),
    ],
)
def test_a_value_of_another_type_is_named(options, said):
    with pytest.raises(HQDMError, match=f"^network.{said}$") as error:
        check_types(options, HINTS, "network.")
    assert "\n" not in str(error.value)


def test_long_values_are_cut_off():
    with pytest.raises(HQDMError) as error:
        check_types({"whole": "line\n" * 1000}, HINTS)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 120


def test_devices_by_name():
    assert device_named("cpu") == device_named(torch.device("cpu")) == torch.device("cpu")
    assert device_named("auto").type in ("cpu", "cuda")
    for wrong in ("meta", "abacus", "cuda:99", 3.5, None):
        with pytest.raises(HQDMError, match="is not available: use auto, cpu or cuda"):
            device_named(wrong)


def test_nested_settings_by_dotted_name():
    settings = {"a": 1, "b": {"c": {"d": [2], "e": None}, "f": {}}, "c": "b"}
    assert list(dotted(settings)) == [("a", 1), ("b.c.d", [2]), ("b.c.e", None), ("c", "b")]
