"""User errors: one line each, with the value received, the value expected and the remedy."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from signal import Signals


class HQDMError(ValueError):
    """An error in the user's input; its message is one line, the command line exits with code 2."""


def unknown(kind: str, name: object, known: Iterable[str]) -> HQDMError:
    """The error for an unknown name.

    Args:
        kind: The kind of object that the name should denote, such as `"ansatz"`.
        name: The name received.
        known: The names that exist.

    Returns:
        An error that lists the known names and suggests the nearest one.
    """
    names = sorted(known)
    close = get_close_matches(str(name), names, n=1)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    return HQDMError(f"unknown {kind} {name!r}: expected one of {', '.join(names)}{hint}")


def check_names(kind: str, names: Iterable[str], known: Iterable[str]) -> None:
    """Refuse names that do not exist; see `unknown`.

    Raises:
        HQDMError: For the first of them.
    """
    known = tuple(known)
    for name in names:
        if name not in known:
            raise unknown(kind, name, known)


@contextmanager
def about(source: object) -> Iterator[None]:
    """Put the file that is read in front of the user errors that its content causes.

    Raises:
        HQDMError: In place of one that does not begin with `source`.
    """
    try:
        yield
    except HQDMError as error:
        if str(error).startswith(str(source)):
            raise
        raise HQDMError(f"{source}: {error}") from None


def first_line(error: BaseException) -> str:
    """The first line of the message of an error, or its class if there is no message."""
    return (str(error) or type(error).__name__).splitlines()[0]


class Interrupted(Exception):
    """Training stopped early by a signal, after a checkpoint was saved.

    Args:
        signum: The signal.
        checkpoint: The checkpoint with the state of the run.
        again: How to continue; None names the option of `hqdm fit`.
    """

    def __init__(self, signum: int, checkpoint: Path, again: str | None = None) -> None:
        super().__init__(
            f"stopped by {Signals(signum).name}: saved {checkpoint}; "
            f"continue with {again or f'--resume {checkpoint}'}"
        )
        self.signum, self.checkpoint, self._again = signum, checkpoint, again

    def __reduce__(self) -> tuple[type, tuple[int, Path, str | None]]:
        """Its arguments, from which a copy in another process is built."""
        return type(self), (self.signum, self.checkpoint, self._again)
