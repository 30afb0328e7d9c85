"""Files of the package, in a repository and in a wheel."""

from hqdm.storage import shipped as module
from hqdm.storage.shipped import shipped


def test_folders_of_the_repository_and_of_an_installed_package(tmp_path, monkeypatch):
    assert (shipped("configs") / "digits_qvunet.yaml").is_file()
    assert (shipped("models") / "mnist_unet" / "config.json").is_file()
    monkeypatch.setattr(module, "__file__", str(tmp_path / "hqdm" / "storage" / "shipped.py"))
    assert shipped("models") == tmp_path / "benchmarks" / "models"
    (tmp_path / "hqdm" / "models").mkdir(parents=True)
    assert shipped("models") == tmp_path / "hqdm" / "models"
