"""YAML that would be read silently in another way, or not at all."""

import pytest
import yaml

from hqdm.cli.configuration import (
    MAX_NODES,
    parse_configuration,
    preset,
    read_configuration,
    value_at,
    with_presets,
)
from hqdm.utils.errors import HQDMError

ORDINARY = """
shared: &shared {dim: 8, mults: [1, 2]}
model:
  network: {<<: *shared, name: UNet}
  other: *shared
"""


def test_ordinary_yaml_is_read_as_by_the_library():
    assert parse_configuration(ORDINARY, "x") == yaml.safe_load(ORDINARY)
    assert parse_configuration("", "x") is None
    assert parse_configuration("QVUNet", "x") == "QVUNet"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\nb: 2\na: 3", "'a' twice, in lines 1 and 3"),
        (
            "model:\n  network:\n    dim: 8\n    name: x\n    dim: 4",
            "'dim' twice, in lines 3 and 5",
        ),
        ("[{a: 1, a: 1}]", "'a' twice"),
    ],
)
def test_a_key_that_stands_twice_is_refused(text, said):
    with pytest.raises(HQDMError, match=f"^config.yaml has the key {said}"):
        parse_configuration(text, "config.yaml")


def test_aliases_that_expand_to_more_than_memory_are_refused():
    """Nine levels of nine aliases are 9^9 values."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 9)]
    with pytest.raises(HQDMError, match=f"more than {MAX_NODES:,} values"):
        parse_configuration("\n".join(lines), "bomb.yaml")
    with pytest.raises(HQDMError, match="values when its aliases"):
        parse_configuration("a: &a [*a]", "circle.yaml")
    assert len(parse_configuration("\n".join(lines[:3]), "small.yaml")) == 3


@pytest.mark.slow
def test_deep_nesting_is_refused():
    with pytest.raises(HQDMError, match="deep.yaml is nested too deeply"):
        parse_configuration("[" * 5000 + "]" * 5000, "deep.yaml")


def test_files_in_another_encoding_are_refused(tmp_path):
    path = tmp_path / "latin.yaml"
    path.write_bytes("a: é".encode("latin-1"))
    with pytest.raises(HQDMError, match=r"latin.yaml is not text in UTF-8 \(byte 3\)"):
        read_configuration(path)


def test_values_of_nested_keys():
    config = {"a": {"b": {"c": 1}}, "d": 2}
    assert value_at(config, "a.b.c") == 1
    assert value_at(config, "a.x.c") is None
    assert value_at(config, "d.e") is None


@pytest.mark.parametrize(
    "words", [["--config", "mnist_qvunet"], ["--config=mnist_qvunet"]], ids=["two words", "one"]
)
def test_names_of_configurations_become_their_files(tmp_path, monkeypatch, words):
    path = str(preset("mnist_qvunet"))
    assert read_configuration(preset("mnist_qvunet"))["data"]["name"] == "mnist"
    assert "=".join(with_presets([*words, "--seed_everything", "1"])[:-2]).endswith(path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mnist_qvunet").touch()  # a file of this name comes first
    assert with_presets(words) == words
    others = ["--config", "x.yaml", "--config=a/b", "--config", "{a: 1}", "--data", "mnist_qvunet"]
    assert with_presets(others) == others


def test_a_misspelt_configuration_is_corrected():
    with pytest.raises(HQDMError, match="unknown configuration 'mnist_qvunt'.*'mnist_qvunet'"):
        with_presets(["--config", "mnist_qvunt"])
