"""What a command prints on another machine, told apart from what that machine prints around it.

A login there may print a greeting of its own before a command, and something at its end, on the
same standard output. Knows nothing of ssh.
"""

from collections.abc import Sequence

_BEGIN = "--- output of ucluster-tune begins ---"
_END = "--- output of ucluster-tune ends ---"
_SCRIPT = f'printf "\\n%s\\n" "{_BEGIN}"; "$@"; code=$?; printf "\\n%s\\n" "{_END}"; exit $code'


def marked(words: Sequence[str]) -> list[str]:
    """Return the command that prints what `words` prints between two lines, with its exit code."""
    return ["sh", "-c", _SCRIPT, "sh", *words]


def between_marks(text: str) -> str | None:
    """Return what stands between the two lines; None where one is missing.

    >>> import subprocess
    >>> text = subprocess.run(marked(["echo", "jets"]), capture_output=True, text=True).stdout
    >>> between_marks("Welcome!" + text + "Goodbye!")
    'jets\\n'
    """
    _, begin, rest = text.partition(f"\n{_BEGIN}\n")
    output, end, _ = rest.rpartition(f"\n{_END}\n")
    return output if begin and end else None
