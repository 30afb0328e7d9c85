"""Plugin files, which define circuits, networks, samplers and other parts: `--plugin FILE`.

A plugin is an ordinary Python file; importing it runs its `register_...` decorators. It is loaded
only if the user names it, never at the request of a downloaded model.
"""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from hqdm.utils.errors import HQDMError, first_line

_LOADED: dict[Path, ModuleType] = {}


def load_plugin(path: str | Path) -> ModuleType:
    """Import a Python file once, as a module with the name of the file.

    Args:
        path: The file.

    Returns:
        The module.

    Raises:
        HQDMError: If the file does not exist or cannot be imported.
    """
    file = Path(path)
    if not file.is_file() or file.suffix != ".py":
        raise HQDMError(f"there is no plugin {path}: expected a Python file (.py)")
    resolved = file.resolve()
    if resolved in _LOADED:
        return _LOADED[resolved]
    for other, module in _LOADED.items():
        if other.name == file.name and other.is_file():
            if other.read_bytes() == file.read_bytes():
                return module
            raise HQDMError(
                f"the plugin {path} differs from {other}, which is loaded: leave one out"
            )
    if file.stem in sys.stdlib_module_names or not _is_free(file.stem, resolved):
        raise HQDMError(f"the plugin {path} has the name of another module: rename the file")
    spec = importlib.util.spec_from_file_location(file.stem, resolved)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    before = sys.modules.get(file.stem)
    sys.modules[file.stem] = module  # so that objects of its classes pickle
    try:
        spec.loader.exec_module(module)
    except HQDMError as error:
        _restore(file.stem, before)
        raise HQDMError(f"the plugin {path} cannot be loaded: {first_line(error)}") from None
    except (Exception, SystemExit) as error:
        _restore(file.stem, before)
        reason = f"{type(error).__name__}: {first_line(error)}{_line(error, str(resolved))}"
        raise HQDMError(
            f"the plugin {path} cannot be loaded ({reason}): correct the file"
        ) from error
    _LOADED[resolved] = module
    return module


def _is_free(name: str, file: Path) -> bool:
    """True if no module of that name was imported from another file."""
    if name not in sys.modules:
        return True
    source = getattr(sys.modules[name], "__file__", None)
    return source is not None and Path(source).resolve() == file


def _restore(name: str, module: ModuleType | None) -> None:
    if module is None:
        sys.modules.pop(name, None)
    else:
        sys.modules[name] = module


def _line(error: BaseException, file: str) -> str:
    """The line of the file in which an error was raised, for a message."""
    place = error.__traceback__
    line = getattr(error, "lineno", None)  # of a syntax error
    while place is not None:
        if place.tb_frame.f_code.co_filename == file:
            line = place.tb_lineno
        place = place.tb_next
    return f", line {line}" if line else ""
