"""Kinds of models: a file names its kind, and is read as that kind only."""

import pytest
import torch
from torch import nn

from hqdm import Denoiser, HQDMError, UNet
from hqdm.diffusion.loading import load_denoiser, load_model
from hqdm.diffusion.model import KIND, MODELS, Model, register_model
from hqdm.diffusion.schedule import CosineSchedule


@pytest.fixture
def line(monkeypatch):
    """A kind of models y = a x, registered for one test."""
    monkeypatch.setattr(MODELS, "_entries", dict(MODELS._entries))

    @register_model("line")
    class Line(Model):
        noun = "a line"
        usage = "Line()"

        def __init__(self, slope=0.0):
            super().__init__()
            self.network = nn.Module()
            self.network.slope = nn.Parameter(torch.tensor(slope))

        @property
        def config(self):
            return {KIND: "line"}

        @classmethod
        def from_config(cls, config):
            return cls()

    return Line


def test_a_folder_is_read_as_its_kind(line, tmp_path):
    line(2.5).save_pretrained(tmp_path)
    for kind in (line, Model):
        loaded = load_model(tmp_path, kind)
        assert isinstance(loaded, line)
        assert loaded.network.slope.item() == 2.5
        assert not loaded.training
    with pytest.raises(HQDMError, match="is a line: expected a model of images"):
        load_denoiser(tmp_path)


def test_a_denoiser_names_no_kind(line, tmp_path):
    denoiser = Denoiser(UNet(size=8, dim=8, mults=(1,)), CosineSchedule())
    assert KIND not in denoiser.config
    denoiser.save_pretrained(tmp_path)
    assert isinstance(load_model(tmp_path, Model), Denoiser)
    with pytest.raises(HQDMError, match="is a model of images: expected a line"):
        load_model(tmp_path, line)


def test_a_class_derived_from_a_kind_reads_its_files(line, tmp_path):
    class Steep(line):
        pass

    line(1.0).save_pretrained(tmp_path)
    assert type(Steep.from_folder(tmp_path)) is Steep


def test_an_unknown_kind_is_refused(tmp_path):
    with pytest.raises(HQDMError, match="model.json: .*kind of model 'sphere'"):
        Model.of({KIND: "sphere"}, "model.json")
