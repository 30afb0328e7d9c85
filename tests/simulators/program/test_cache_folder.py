"""Cache folders: the first that can be written, and none that another user can write."""

import os
import tempfile

import pytest

from hqdm.simulators.program import cache_folder as caches


@pytest.fixture
def places(monkeypatch, tmp_path):
    """Folders in place of those of the machine; all but the temporary one cannot be made."""
    blocked = tmp_path / "file"
    blocked.touch()
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(blocked / "numba"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked / "home"))
    monkeypatch.setattr(
        caches, "__file__", str(blocked / "hqdm" / "simulators" / "program" / "file.py")
    )
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    return tmp_path


def test_the_first_folder_that_can_be_written(places, monkeypatch):
    temporary = caches.cache_folder("code")
    assert temporary.parent.parent == places / "temporary"
    monkeypatch.setenv("XDG_CACHE_HOME", str(places / "home"))
    assert caches.cache_folder("code") == places / "home" / "hqdm" / "code"
    package = places / "package" / "hqdm"
    monkeypatch.setattr(caches, "__file__", str(package / "simulators" / "program" / "file.py"))
    assert caches.cache_folder("code") == package / "__pycache__" / "code"
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(places / "numba"))
    assert caches.cache_folder("code") == places / "numba" / "code"
    assert list((places / "numba" / "code").iterdir()) == []


def test_no_folder(places, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(places / "file" / "none"))
    assert caches.cache_folder("code") is None


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="users of Windows have folders of their own")
def test_a_temporary_folder_that_others_can_write_is_not_used(places):
    folder = places / "temporary" / f"hqdm-{os.getuid()}"
    folder.mkdir(mode=0o700)
    assert caches.cache_folder("code") == folder / "code"
    for mode in (0o777, 0o720, 0o702):  # all, the group, others
        folder.chmod(mode)
        assert caches.cache_folder("code") is None
    (folder / "code").rmdir()
    folder.rmdir()
    (places / "elsewhere").mkdir(mode=0o700)
    folder.symlink_to(places / "elsewhere")
    assert caches.cache_folder("code") is None
