"""Definitions of users that a saved model needs: recorded and copied beside it, never run unasked.

"requires": [{"kind": "ansatz", "name": "Ring", "file": "my_circuits.py"}]
"""

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from hqdm.utils.errors import HQDMError
from hqdm.utils.registry import Registry, requirements


def write_requirements(
    config: object, folder: Path, overwrite: bool = False
) -> list[dict[str, str | None]]:
    """Copy the files that a plain configuration needs into a folder.

    Args:
        config: The configuration that names the definitions.
        folder: Where the model is saved.
        overwrite: Replace a file of the same name and another content.

    Returns:
        One plain record for each definition; its `file` is None where the definition stands in a
        notebook or in a script, which would run when it is loaded.

    Raises:
        HQDMError: If another file of that name is there and `overwrite` is false.
    """
    needs = requirements(config)
    for file in {need.file for need in needs if need.file is not None and need.importable}:
        copy = folder / file.name
        if copy.exists():
            if copy.read_bytes() == file.read_bytes():
                continue
            if not overwrite:
                raise HQDMError(
                    f"{copy} differs from {file}, which is loaded: load the former with --plugin "
                    "to continue with it, or name another folder with --out"
                )
        shutil.copyfile(file, copy)
    return [need.record for need in needs]


def check_requirements(records: Iterable[Mapping[str, Any]], folder: Path, source: object) -> None:
    """See that the definitions that a model needs are there.

    Args:
        records: Those of `write_requirements`.
        folder: Where the model was saved.
        source: The file or folder of the model, for messages.

    Raises:
        HQDMError: If one is missing; the line names the file to load.
    """
    known = {registry.kind: registry for registry in Registry.all}
    for record in records:
        kind, name, file = (record.get(key) for key in ("kind", "name", "file"))
        if kind in known and name in known[kind]:
            continue
        if file:
            raise HQDMError(
                f"{source} needs the {kind} {name!r}: load the file that defines it with "
                f"--plugin {folder / Path(file).name}, after reading it"
            )
        raise HQDMError(
            f"{source} needs the {kind} {name!r}, which was defined in a notebook or a script: "
            "put it into a file of its own and load that with --plugin FILE"
        )
