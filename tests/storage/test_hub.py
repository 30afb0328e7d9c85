"""Models on the hub: what is uploaded and asked for, and that nothing else imports its library."""

import inspect
import subprocess
import sys

import pytest
import torch
import yaml
from huggingface_hub import HfApi
from safetensors.torch import load_file

from hqdm.diffusion.denoiser import Denoiser
from hqdm.diffusion.loading import load_denoiser
from hqdm.storage.hub import UPLOAD_OPTIONS, model_card
from hqdm.utils.errors import HQDMError


def test_hub_gets_weights_configuration_and_card(trained, monkeypatch):
    denoiser, sent = load_denoiser(trained / "last.ckpt"), {}

    class Repo:
        repo_id = "someone/model"

    def upload_folder(self, *, folder_path, repo_id, commit_message, **options):
        files = {f.name: f.read_bytes() for f in folder_path.iterdir()}
        rebuilt = Denoiser.from_folder(folder_path)
        sent.update(
            files=files,
            repo_id=repo_id,
            options=options,
            tensors=load_file(folder_path / "model.safetensors"),
        )
        sent["config"] = rebuilt.config
        return "https://example.invalid/commit"

    def create_repo(self, repo_id, private, exist_ok):
        assert (repo_id, private, exist_ok, self.token) == ("someone/model", True, True, "secret")
        return Repo

    monkeypatch.setattr(HfApi, "create_repo", create_repo)
    monkeypatch.setattr(HfApi, "upload_folder", upload_folder)
    address = denoiser.push_to_hub("someone/model", private=True, token="secret", revision="v2")
    assert address == "https://example.invalid/commit"
    assert sent["options"] == {"revision": "v2"}
    assert sent["repo_id"] == "someone/model"
    assert set(sent["files"]) == {"model.safetensors", "config.json", "README.md"}
    assert sent["config"] == denoiser.config
    for name, value in denoiser.state_dict().items():
        assert torch.equal(sent["tensors"][name], value)
    card = sent["files"]["README.md"].decode()
    assert "library_name: hqdm" in card


@pytest.mark.slow
def test_a_wrong_option_creates_no_repository(trained, monkeypatch):
    assert set(UPLOAD_OPTIONS) <= set(inspect.signature(HfApi.upload_folder).parameters)
    monkeypatch.setattr(HfApi, "create_repo", None)
    monkeypatch.setattr(HfApi, "upload_folder", None)
    for option in ("revison", "repo_type", "run_as_future"):
        with pytest.raises(HQDMError, match=f"unknown option of push_to_hub '{option}'"):
            load_denoiser(trained).push_to_hub("someone/model", **{option: "v2"})


WRONG = [
    ("/no/such/folder", "there is no folder /no/such/folder: expected one that"),
    ("runs/no/model", "there is no folder runs/no/model: expected one that"),
    ("no model", "there is no folder no model: expected one that"),
    ("a/file", "there is no folder a/file: expected one that"),
    ("some/one", r"there is no folder some/one: no model of this name on the hub \(404\)$"),
    (None, r"on the hub \(owner/name\), got None"),
    ("", r"on the hub \(owner/name\), got ''"),
    (
        "empty",
        r"empty holds no config.json: expected a folder that `hqdm export` or save_pretrained",
    ),
]


def test_a_revision_is_that_of_a_model_on_the_hub(trained):
    with pytest.raises(HQDMError, match="revision is that of a model on the hub, and .* is a fold"):
        Denoiser.from_pretrained(trained, revision="main")


def test_a_repository_has_a_name(trained, monkeypatch):
    monkeypatch.setattr(HfApi, "create_repo", None)
    with pytest.raises(HQDMError, match="repo_id: expected the name of a repo.*, got None"):
        load_denoiser(trained).push_to_hub(None)


@pytest.mark.parametrize(("source", "message"), WRONG)
def test_what_is_no_model_is_named(tmp_path, monkeypatch, source, message):
    """Only what can be a name is asked of the hub."""

    def download(name, **options):
        assert name == "some/one"
        raise OSError("404\nmore")

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "file").touch()
    with pytest.raises(HQDMError, match=message) as error:
        Denoiser.from_pretrained(source)
    assert "\n" not in str(error.value)


def test_a_file_in_place_of_the_folder_is_named_without_an_option_of_commands(trained, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(
        HQDMError, match="is a file, not a folder: move it, or name another folder$"
    ):
        load_denoiser(trained).save_pretrained(tmp_path / "file")


def test_the_card_has_the_metadata_of_the_hub():
    _, metadata, text = model_card(Denoiser.usage).split("---\n", 2)
    assert yaml.safe_load(metadata) == {"library_name": "hqdm", "tags": ["diffusion", "quantum"]}
    assert "Pipeline.from_pretrained" in text


def test_a_model_of_the_hub_is_downloaded_and_loaded(trained, tmp_path, monkeypatch):
    model = load_denoiser(trained)
    model.save_pretrained(tmp_path)
    asked = []

    def download(name, **options):
        asked.append((name, options))
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    loaded = Denoiser.from_pretrained("someone/model", revision="v2", local_files_only=True)
    assert all(torch.equal(v, loaded.state_dict()[k]) for k, v in model.state_dict().items())
    [(name, options)] = asked
    assert name == "someone/model"
    assert options["allow_patterns"] == ["config.json", "model.safetensors"]
    assert (options["revision"], options["local_files_only"]) == ("v2", True)
    with pytest.raises(TypeError, match="revison"):
        Denoiser.from_pretrained("someone/model", revison="v2")


@pytest.mark.slow
def test_a_model_in_a_folder_is_read_without_the_library_of_the_hub(trained, tmp_path):
    load_denoiser(trained).save_pretrained(tmp_path)
    code = (
        "import sys\nfrom hqdm.diffusion.loading import load_denoiser\n"
        "load_denoiser(sys.argv[1])\n"
        "assert not [m for m in sys.modules if m.split('.')[0] in ('huggingface_hub', 'httpx')]"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)


@pytest.mark.parametrize("folder", ["", None, 3])
def test_a_folder_needs_a_name(trained, tmp_path, monkeypatch, folder):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(HQDMError, match="expected the folder of a model"):
        load_denoiser(trained).save_pretrained(folder)
    assert not list(tmp_path.iterdir())
