"""Configurations: those of this package by name, and YAML that a parser would read otherwise.

What a parser would read silently in another way than it was meant is refused.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from hqdm.storage.shipped import shipped
from hqdm.utils.errors import HQDMError, unknown

STUDIES = "studies"
MAX_NODES = 100_000  # of a configuration, with its aliases expanded


def preset(name: str) -> Path:
    """The file of a configuration of this package.

    Args:
        name: Its name, such as `mnist_qvunet`.

    Raises:
        HQDMError: If there is none of this name.
    """
    folder = shipped("configs")
    studies = set((folder / STUDIES).glob("*.yaml"))  # of `hqdm study`
    files = {file.stem: file for file in folder.rglob("*.yaml") if file not in studies}
    if name not in files:
        raise unknown("configuration", name, files)
    return files[name]


def with_presets(args: Sequence[str]) -> list[str]:
    """Arguments in which the names of configurations are replaced by their files.

    Raises:
        HQDMError: If the value of `--config` is neither a file nor a name.
    """
    words = list(args)
    for i, word in enumerate(words):
        flag, equals, value = word.partition("=")
        if flag == "--config" and equals and _is_name(value):
            words[i] = f"--config={preset(value)}"
        elif word == "--config" and i + 1 < len(words) and _is_name(words[i + 1]):
            words[i + 1] = str(preset(words[i + 1]))
    return words


def _is_name(value: str) -> bool:
    """True for what cannot be a file: without a suffix, a folder, or YAML."""
    return value.isidentifier() and not Path(value).is_file()


def read_configuration(path: Path) -> Any:
    """The content of a YAML file.

    Raises:
        HQDMError: If it is not text in UTF-8, or as in `parse_configuration`.
        OSError: If it cannot be read.
        yaml.YAMLError: If it is not YAML.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise HQDMError(
            f"{path} is not text in UTF-8 (byte {error.start}): save it in this encoding"
        ) from None
    return parse_configuration(text, str(path))


def parse_configuration(text: str, source: str) -> Any:
    """The content of YAML.

    Args:
        text: The YAML.
        source: Its origin, for messages.

    Raises:
        HQDMError: If a key stands twice in one mapping, of which YAML keeps the last, or the
            content is nested too deeply or too large when its aliases are expanded.
        yaml.YAMLError: If it is not YAML.
    """
    loader = yaml.SafeLoader(text)
    try:
        root = loader.get_single_node()
        if root is None:
            return None
        _check_keys(root, source, set())
        if _size(root, {}) > MAX_NODES:
            raise HQDMError(
                f"{source} has more than {MAX_NODES:,} values when its aliases (*name) are "
                "expanded: write a shorter configuration"
            )
        return loader.construct_document(root)
    except RecursionError:
        raise HQDMError(f"{source} is nested too deeply: expected a configuration") from None
    finally:
        loader.dispose()


def _check_keys(node: yaml.Node, source: str, seen: set[int]) -> None:
    """Refuse a key that stands twice in one mapping."""
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        keys: dict[str, int] = {}
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if isinstance(key, yaml.ScalarNode) and key.value in keys:
                raise HQDMError(
                    f"{source} has the key {key.value!r} twice, in lines {keys[key.value]} and "
                    f"{line}: keep one"
                )
            if isinstance(key, yaml.ScalarNode):
                keys[key.value] = line
    for child in _children(node):
        _check_keys(child, source, seen)


def _size(node: yaml.Node, known: dict[int, int]) -> int:
    """Number of nodes with aliases expanded, each node computed once."""
    if id(node) not in known:
        known[id(node)] = MAX_NODES + 1  # within itself, a node is infinite
        known[id(node)] = 1 + sum(_size(child, known) for child in _children(node))
    return known[id(node)]


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [child for pair in node.value for child in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def value_at(config: Any, keys: str) -> Any:
    """The value of nested keys, separated by dots; None if there is none."""
    for key in keys.split("."):
        config = config.get(key) if isinstance(config, Mapping) else None
    return config
