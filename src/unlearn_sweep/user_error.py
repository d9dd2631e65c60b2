"""The error of a user's mistake or of a storage's state, and the exit statuses of the commands.

A command prints it as a message and an advice, without a traceback. Any other exception that reaches the user is a bug.
This module is below all four packages, so that each of them can raise it.
"""

from __future__ import annotations

EXIT_OK = 0
EXIT_FAILED = 1
"""Something that was started has failed."""
EXIT_REFUSED = 2
"""The request is invalid; nothing was started."""
EXIT_INTERRUPTED = 130


class UserError(Exception):
    """A command cannot do what is asked. As text it is the message, with the advice if that belongs to this error.

    Attributes:
        status: Exit status of the command.
        advice: What to do, as a sentence; of the class, unless given for this error.
    """

    status: int = EXIT_REFUSED
    advice: str = "Fix it and rerun the same command."

    def __init__(self, message: str, *, advice: str | None = None) -> None:
        super().__init__(message)
        if advice is not None:
            self.advice = advice

    def __str__(self) -> str:
        own = "advice" in self.__dict__
        return f"{_ended(self.message)} {self.advice}" if own else self.message

    @property
    def message(self) -> str:
        """What is wrong, without the advice."""
        return str(self.args[0])

    def text(self) -> str:
        """Return what the command prints: the message, then the advice on a line of its own."""
        return f"{_ended(self.message)}\n{_ended(self.advice)}"


def _ended(sentence: str) -> str:
    """Return the sentence with a full stop, unless it has an end or is followed by lines to copy."""
    return sentence if "\n" in sentence or sentence.rstrip().endswith((".", "!", "?")) else f"{sentence.rstrip()}."
