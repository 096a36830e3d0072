# SPDX-License-Identifier: Apache-2.0
"""What other projects take: manifests that name every file in order, and sources under a prefix that still lint."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

from simsparse.errors import SpecError
from simsparse.paths import data_root
from simsparse.rtl import pages
from simsparse.rtl.package import MANIFESTS, closure, export, manifests, modules
from simsparse.rtl.toolchain import sources, verilator


def test_the_manifests_are_those_of_the_sources() -> None:
    """Remake them with: simsparse rtl export rtl"""
    texts = manifests(modules())
    assert set(texts) == set(MANIFESTS)
    for name, text in texts.items():
        assert (sources() / name).read_text(encoding="utf-8") == text, name


def test_every_file_is_listed_once_behind_what_is_inside_it() -> None:
    texts, files = manifests(modules()), sorted(path.name for path in sources().glob("*.sv"))
    core, bender = (yaml.safe_load(texts[name]) for name in ("simsparse_rtl.core", "Bender.yml"))
    for listed in (core["filesets"]["rtl"]["files"], bender["sources"], texts["files.f"].splitlines()[1:]):
        assert sorted(listed) == files
        assert listed.index("stream_register.sv") < listed.index("nm_select.sv") < listed.index("nm_dot_pe.sv")
    assert core["targets"]["default"]["toplevel"] in modules()


@pytest.mark.usefixtures("_simulator")
def test_a_prefix_is_on_every_name_and_the_export_lints(tmp_path: Path) -> None:
    export(tmp_path, ["nm_gemm_top", "nm_dot_pe"], "acme_")
    command = [str(verilator()), "--lint-only", "-Wall", "-f", "files.f", "--top-module", "acme_nm_dot_pe"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    names = {path.stem for path in tmp_path.glob("*.sv")}
    assert names == {f"acme_{name}" for name in closure(["nm_gemm_top", "nm_dot_pe"])}


def test_every_source_names_its_licence() -> None:
    first = {path.name: path.read_text(encoding="utf-8").partition("\n")[0] for path in sources().glob("*.sv")}
    assert set(first.values()) == {"// SPDX-License-Identifier: Apache-2.0"}, first


@pytest.mark.parametrize(("tops", "prefix"), [(["nothing"], ""), ([], "1_"), ([], "a-")])
def test_what_can_not_be_exported_is_refused(tops: list[str], prefix: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError):
        export(tmp_path / "out", tops, prefix)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("module", pages.modules())
def test_a_page_is_what_the_source_says(module: str) -> None:
    """But for its waveform. Remake all with: python -m simsparse.rtl.pages"""
    text = (data_root() / pages.FOLDER / f"{module}.md").read_text(encoding="utf-8")
    parts = pages.page(module).split("(waveform)")
    assert text.startswith(parts[0]) and text.endswith(parts[-1])
    assert len(text) > sum(map(len, parts)) or len(parts) == 1


@pytest.mark.deep
@pytest.mark.parametrize("module", pages.modules())
def test_a_page_shows_the_cycles_of_today(module: str) -> None:
    assert (data_root() / pages.FOLDER / f"{module}.md").read_text(encoding="utf-8") == pages.written(module)
