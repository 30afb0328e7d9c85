"""Mistakes that a user can mend: one line that says what came, what was expected, what to do."""

from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from signal import Signals


class HQDMError(ValueError):
    """A mistake in the input. Its message is one line; the command line exits with code 2."""


def unknown(kind: str, name: object, known: Iterable[str]) -> HQDMError:
    """The error for a name that no registry holds.

    Args:
        kind: What the name should be, such as `"ansatz"`.
        name: What came.
        known: The names that exist.

    Returns:
        An error that lists the known names and suggests the nearest one.
    """
    names = sorted(known)
    close = get_close_matches(str(name), names, n=1)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    return HQDMError(f"unknown {kind} {name!r}: expected one of {', '.join(names)}{hint}")


class Interrupted(Exception):
    """Training left early, after it had saved a checkpoint.

    Args:
        signum: The signal that asked for it.
        checkpoint: Where the run stands.
    """

    def __init__(self, signum: int, checkpoint: Path) -> None:
        super().__init__(
            f"stopped by {Signals(signum).name}: saved {checkpoint}; "
            f"go on with --resume {checkpoint}"
        )
        self.signum = signum
