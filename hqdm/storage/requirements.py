"""Users' definitions that a saved model needs: recorded, copied to its folder, run on request only.

"requires": [{"kind": "ansatz", "name": "Ring", "file": "my_circuits.py"}]
"""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from hqdm.utils.errors import HQDMError
from hqdm.utils.plugins import helpers_of
from hqdm.utils.registry import Registry, requirements


def write_requirements(
    config: object, folder: Path, overwrite: bool = False
) -> list[dict[str, str | None]]:
    """Copy the files that a plain configuration needs, and files that they import, into a folder.

    Args:
        config: The configuration that names the definitions.
        folder: The folder of the model.
        overwrite: Replace a file of the same name with other content.

    Returns:
        One plain record per definition; its `file` is None for a definition in a notebook or in a
        script, which would run if it were loaded.

    Raises:
        HQDMError: If the folder has another file of that name and `overwrite` is false.
    """
    needs = requirements(config)
    named = {need.file for need in needs if need.file is not None and need.importable}
    files = named | {helper for file in named for helper in helpers_of(file)}
    if len({file.name for file in files}) < len(files):
        names = ", ".join(sorted(map(str, files)))
        raise HQDMError(f"files of one name cannot be copied to one folder: rename one of {names}")
    for file in files:
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


def _fields(record: object, source: object) -> tuple[str, str, str | None]:
    """The kind, the name and the file of a record.

    Raises:
        HQDMError: If it is not a record.
    """
    if isinstance(record, Mapping):
        kind, name, file = (record.get(key) for key in ("kind", "name", "file"))
        texts = [kind, name] + ([] if file is None else [file])
        if all(isinstance(text, str) and text.isprintable() and text for text in texts):
            return str(kind), str(name), file
    raise HQDMError(f"{source} is damaged (a record of requires is not one): export it again")


def check_requirements(records: object, folder: Path, source: object) -> None:
    """Check that the definitions that a model needs are loaded.

    Args:
        records: The records that `write_requirements` returned.
        folder: The folder of the model.
        source: The file or folder of the model, for messages.

    Raises:
        HQDMError: If one is not loaded; the message names the file to load.
    """
    known = {registry.kind: registry for registry in Registry.all}
    if not isinstance(records, Sequence) or isinstance(records, str):
        raise HQDMError(f"{source} is damaged (requires is not a list): export it again")
    for record in records:
        kind, name, file = _fields(record, source)
        if kind in known and name in known[kind]:
            continue
        if file:
            raise HQDMError(
                f"{source} needs the {kind} {name!r}: load the file that defines it with "
                f"--plugin {folder / Path(file).name}, after reading it"
            )
        raise HQDMError(
            f"{source} needs the {kind} {name!r}, which was defined in a notebook or a script: "
            "move it to a separate file and load that with --plugin FILE"
        )
