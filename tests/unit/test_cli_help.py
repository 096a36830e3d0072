# SPDX-License-Identifier: Apache-2.0
"""Help of the command line: every command, what it prints, and that it imports little."""

from __future__ import annotations

import subprocess
import sys

import pytest

from simsparse.cli import main
from simsparse.cli.app import SUBCOMMANDS, command

HEAVY = ("torch", "numba", "numpy", "matplotlib", "pandas", "pydantic", "pint", "scipy", "optuna", "yaml", "simpy",
         "rich")  # fmt: skip
GROUPS = {"hw": ("list", "show", "check"), "rtl": ("verify",)}


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What ``--help`` prints."""
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--help"])
    assert ended.value.code in (0, None)
    return capsys.readouterr().out


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys, io, contextlib\nfrom simsparse.cli import main\n"
        "with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()): main(['--help'])\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert all(f" {name} " in shown(capsys) for name in SUBCOMMANDS)


@pytest.mark.parametrize("name", SUBCOMMANDS)
def test_the_list_says_what_a_command_says_of_itself(name: str) -> None:
    found = command().get_command(None, name)
    assert found.name == name
    assert " ".join(found.help.split("\n\n")[0].split()) == SUBCOMMANDS[name].help


@pytest.mark.parametrize("name", [name for name in SUBCOMMANDS if name not in GROUPS])
def test_every_command_has_help_and_json(capsys: pytest.CaptureFixture[str], name: str) -> None:
    assert "--json" in shown(capsys, name)


@pytest.mark.parametrize(("group", "name"), [(group, name) for group, names in GROUPS.items() for name in names])
def test_commands_of_groups_have_help_and_json(capsys: pytest.CaptureFixture[str], group: str, name: str) -> None:
    assert "--json" in shown(capsys, group, name)
