"""Plugin files, which define circuits, networks, samplers and other parts: `--plugin FILE`.

A plugin is an ordinary Python file; importing it runs its `register_...` decorators. It is loaded
only if the user names it, never at the request of a downloaded model.
"""

import ast
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from hqdm.utils.errors import HQDMError, first_line

_LOADED: dict[Path, ModuleType] = {}


def load_plugin(path: str | Path) -> ModuleType:
    """Import a Python file once, as a module with the name of the file.

    Modules beside the file can be imported, as by a script.

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
    for helper in helpers_of(resolved):
        if not _is_free(helper.stem, helper):
            raise HQDMError(
                f"the plugin {path} imports {helper.name}, but another module of that name is "
                "loaded: rename the file"
            )
    spec = importlib.util.spec_from_file_location(file.stem, resolved)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    before = sys.modules.get(file.stem)
    sys.modules[file.stem] = module  # so that objects of its classes pickle
    try:
        with _beside(resolved):
            spec.loader.exec_module(module)
    except BaseException as error:
        _restore(file.stem, before)
        if isinstance(error, HQDMError):
            raise HQDMError(f"the plugin {path} cannot be loaded: {first_line(error)}") from None
        if isinstance(error, Exception | SystemExit):
            raise HQDMError(
                f"the plugin {path} cannot be loaded ({_reason(error, str(resolved))}): correct "
                "the file"
            ) from error
        raise
    _LOADED[resolved] = module
    return module


def loaded_plugins() -> list[str]:
    """The plugin files that were loaded, in their order."""
    return [str(file) for file in _LOADED]


def helpers_of(file: Path) -> list[Path]:
    """The Python files beside a file that it imports, directly or through one another."""
    found: list[Path] = []
    left = [file]
    while left:
        for name in _imported(left.pop()):
            helper = file.parent / f"{name}.py"
            if helper.is_file() and helper not in (file, *found):
                found.append(helper)
                left.append(helper)
    return found


def _imported(file: Path) -> set[str]:
    """The first parts of the names of the modules that a file imports."""
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):
        return set()  # Python reports the error when it runs the file
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    return names


def _is_free(name: str, file: Path) -> bool:
    """True if no module of that name was imported from a file with other content."""
    if name not in sys.modules:
        return True
    source = getattr(sys.modules[name], "__file__", None)
    if source is None or not Path(source).is_file():
        return False
    return Path(source).resolve() == file or Path(source).read_bytes() == file.read_bytes()


def _restore(name: str, module: ModuleType | None) -> None:
    if module is None:
        sys.modules.pop(name, None)
    else:
        sys.modules[name] = module


@contextmanager
def _beside(file: Path) -> Iterator[None]:
    """Find the modules beside a file first, as Python does for a script; afterwards, last."""
    folder = str(file.parent)
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)
        if folder not in sys.path:
            sys.path.append(folder)


def _reason(error: BaseException, file: str) -> str:
    """The class, the message and the line of an error in a file."""
    if isinstance(error, SyntaxError) and error.filename == file:
        return f"{type(error).__name__}: {error.msg}, line {error.lineno}"
    place, line = error.__traceback__, None
    while place is not None:
        if place.tb_frame.f_code.co_filename == file:
            line = place.tb_lineno
        place = place.tb_next
    reason = f"{type(error).__name__}: {first_line(error)}"
    return f"{reason}, line {line}" if line else reason
