# SPDX-License-Identifier: Apache-2.0
"""The command line. Errors end in one line on stderr and exit code 2, never in a traceback."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from simsparse.errors import SimsparseError

FAULT, INTERNAL, INTERRUPTED = 2, 70, 130


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit.

    Exit codes: 0 done, 1 done and found wanting (a failed check, tolerance or, with ``--strict``,
    point), 2 the input is at fault, 70 a bug, 130 interrupted. ``SIMSPARSE_DEBUG=1`` shows the
    traceback of a bug.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = _run(given or ["--help"])
        sys.stdout.flush()
    except BrokenPipeError:
        code = _quiet_pipe()
    sys.exit(code)


def _run(arguments: list[str]) -> int:
    from simsparse.cli.app import command
    from simsparse.cli.progress import waiting

    try:
        with waiting(" ".join(itertools.takewhile(str.isalpha, arguments))):
            code = command().main(args=arguments, prog_name="simsparse", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except BrokenPipeError:
        raise
    except SimsparseError as error:
        return _say(str(error), FAULT)
    except KeyboardInterrupt:
        return _say("interrupted", INTERRUPTED)
    except UnicodeEncodeError as error:
        return _say(f"the terminal can't show {error.object[error.start]!a}; set PYTHONIOENCODING=utf-8", FAULT)
    except UnicodeError as error:
        return _say(f"is not UTF-8 text: {error}", FAULT)
    except OSError as error:
        return _say(f"{error.filename or 'input'}: {error.strerror or error}", FAULT)
    except Exception as error:
        return _unexpected(error)


def _unexpected(error: Exception) -> int:
    """A fault that the argument parser found, or a bug."""
    message: Any = getattr(error, "format_message", None)
    if message is not None:
        return _say(f"{message()} (simsparse --help shows what is allowed)", FAULT)
    if type(error).__name__ in ("Abort", "Exit"):
        return int(getattr(error, "exit_code", INTERRUPTED))
    if os.environ.get("SIMSPARSE_DEBUG"):
        raise error
    return _say(f"a bug: {type(error).__name__}: {error} (SIMSPARSE_DEBUG=1 shows where)", INTERNAL)


def _say(message: str, code: int) -> int:
    from simsparse.text import printable

    sys.stderr.write(f"error: {printable(' '.join(message.split()))}\n")
    return code


def _quiet_pipe() -> int:
    """Point stdout away from a closed pipe, so that the interpreter does not complain when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0
