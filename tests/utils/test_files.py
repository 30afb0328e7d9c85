"""Output folders are created, checked for write access and never silently overwritten."""

import pytest

from hqdm.utils.errors import HQDMError
from hqdm.utils.files import claim_files, make_writable, remove_unused_folders


def test_folder_is_created_and_left_empty(tmp_path):
    make_writable(tmp_path / "a" / "b")
    make_writable(tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_folder_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    for folder in (tmp_path / "file", tmp_path / "file" / "sub"):
        with pytest.raises(HQDMError, match=r"cannot write to .*file.*--out"):
            make_writable(folder)


def test_present_files_are_named_and_kept(tmp_path):
    (tmp_path / "b.txt").write_text("mine")
    with pytest.raises(HQDMError, match=r"already holds b.txt: --overwrite replaces, --out"):
        claim_files(tmp_path, ["a.txt", "b.txt"], overwrite=False)
    claim_files(tmp_path, ["a.txt", "b.txt"], overwrite=True)
    claim_files(tmp_path, ["c.txt"], overwrite=False)
    assert (tmp_path / "b.txt").read_text() == "mine"


def test_only_new_and_empty_folders_are_removed(tmp_path):
    remove_unused_folders()  # of earlier tests
    (tmp_path / "old").mkdir()
    for folder in ("old", "old/in/side", "new/a", "new/b", "gone"):
        make_writable(tmp_path / folder)
    (tmp_path / "new" / "b" / "file").write_text("x")
    (tmp_path / "gone").rmdir()
    remove_unused_folders()
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*")) == [
        "new",
        "new/b",
        "new/b/file",
        "old",
    ]
    (tmp_path / "gone").mkdir()  # by somebody else, since then
    remove_unused_folders()
    assert (tmp_path / "gone").exists()
