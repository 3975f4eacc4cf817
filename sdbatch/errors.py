"""Every error that sdbatch raises on purpose, with the exit code it ends a command with.

SdbatchError                70  a bug, unless a subclass says otherwise
|-- UsageError               2  the command cannot be done as asked
|   |-- SpecError            2  the job spec or its tables are wrong; holds every Problem found
|   |-- ModelError           2  a model is missing, broken, or of the wrong kind
|   `-- RefusedError         2  the directory was begun with other settings or by another job
|-- StoreError              74  the run directory cannot be written or read
|-- BusyError               75  another run holds the directory
`-- RowError                 1  one row cannot be made; recorded, the others go on
    |-- InputError           1  a picture that the row reads is missing or broken
    |   `-- ReviewError      1  nothing was found in the picture that is to be hidden: somebody must look at it
    |-- WithheldError        1  a picture could not be made such that nobody is recognised; it is not written
    |-- DroppedError         0  a recipe's guard drops the picture; recorded, and the row counts as settled
    |-- FlaggedError         1  the model's safety checker flagged the picture, and `safety: drop` drops it
    `-- PictureError         1  the model gave NaN or a picture of one value
"""

from __future__ import annotations

from dataclasses import dataclass

EXIT_OK = 0
EXIT_ROWS_FAILED = 1
EXIT_USAGE = 2
EXIT_BUG = 70
EXIT_STORE = 74
EXIT_TRY_LATER = 75
EXIT_INTERRUPTED = 130


class SdbatchError(Exception):
    """Base of every error raised on purpose."""

    exit_code = EXIT_BUG


class UsageError(SdbatchError):
    """The command cannot be done as asked."""

    exit_code = EXIT_USAGE


@dataclass(frozen=True)
class Problem:
    """One mistake in a spec or a table.

    Attributes:
        file: path as the user gave it; None for a value that came from the command line.
        line: 1-based line of the key, or None where the format has no lines.
        key: dotted path of the key, such as `grid.seed`.
        message: what is wrong and what is allowed, with the nearest valid name.
    """

    file: str | None
    line: int | None
    key: str
    message: str

    def __str__(self) -> str:
        place = (self.file or "command line") + (f":{self.line}" if self.line else "")
        return f"{place}: {self.key}: {self.message}" if self.key else f"{place}: {self.message}"


class SpecError(UsageError):
    """A job spec or one of its tables is wrong; `problems` holds all that was found."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class ModelError(UsageError):
    """A model is missing, broken, or of the wrong kind."""


class RefusedError(UsageError):
    """The directory was begun with other settings or by another job."""


class StoreError(SdbatchError):
    """The run directory cannot be written or read."""

    exit_code = EXIT_STORE


class BusyError(SdbatchError):
    """Another run holds the directory."""

    exit_code = EXIT_TRY_LATER


class RowError(SdbatchError):
    """One row cannot be made; it is recorded and the others go on."""

    exit_code = EXIT_ROWS_FAILED


class InputError(RowError):
    """A picture that the row reads is missing or broken."""


class ReviewError(InputError):
    """Nothing was found in a picture that is to be hidden: somebody must look at it."""


class WithheldError(RowError):
    """A picture could not be made such that nobody is recognised in it; it is not written."""


class DroppedError(RowError):
    """A recipe's guard drops the picture, and the row counts as settled."""

    exit_code = EXIT_OK


class FlaggedError(RowError):
    """The model's safety checker flagged the picture, and `safety: drop` drops it."""


class PictureError(RowError):
    """The model gave NaN or a picture of one value."""
