"""The bounded cache: which results are kept, and in which order they are dropped."""

import pytest

from hqdm.device.recent import Recent


def test_the_least_recently_used_result_is_dropped():
    cache: Recent[str] = Recent(2)
    made = []

    def get(key):
        return cache.get(key, lambda: made.append(key) or key.upper())

    assert [get(key) for key in "abab"] == ["A", "B", "A", "B"]
    get("a")  # "b" has not been used for longer than "a"
    get("c")
    assert len(cache) == 2
    assert made == ["a", "b", "c"]
    get("a")
    assert made == ["a", "b", "c"]
    get("b")
    assert made == ["a", "b", "c", "b"]


def test_a_failure_is_not_kept():
    cache: Recent[int] = Recent(2)
    with pytest.raises(ZeroDivisionError):
        cache.get("a", lambda: 1 // 0)
    assert len(cache) == 0
    assert cache.get("a", lambda: 3) == 3
