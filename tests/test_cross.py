"""The C example for other systems: built here by its Makefile with Zig's compiler, inspected, and rejected."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import missing
from cross import TARGETS

from backworks.errors import WrongPlatformError
from backworks.ffi.contract import REQUIRED_SYMBOLS
from backworks.loading.inspection import LibraryInfo, inspect_library, problems, this_machine, this_system
from backworks.starting import load

ROOT = Path(__file__).resolve().parent.parent

#: The file that the Makefile makes for each system.
FILES = {"linux": "libweather_c.so", "macos": "libweather_c.dylib", "windows": "weather_c.dll"}

# Zig needs a minute for the first library of a system: it builds that system's C library, and caches it under build/.


@pytest.fixture(scope="module", params=TARGETS)
def target(request: pytest.FixtureRequest) -> str:
    """Each system in turn."""
    return str(request.param)


@pytest.fixture(scope="module")
def library(target: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Builds the weather plugin in C for the system."""
    make = shutil.which("make") or shutil.which("gmake")
    if make is None:
        missing("GNU make")
        raise AssertionError
    directory = tmp_path_factory.mktemp(target)
    zig = f"{Path(sys.executable).as_posix()} -m ziglang cc -target {target}"
    subprocess.run(
        [make, "--silent", "-C", ROOT / "examples" / "weather_plugin_c", f"CC={zig}", f"OUT={directory.as_posix()}"],
        check=True,
    )
    return directory / FILES[TARGETS[target][1]]


@pytest.fixture(scope="module")
def info(library: Path) -> LibraryInfo:
    """Inspects the library."""
    return inspect_library(library)


def test_platform(target: str, info: LibraryInfo) -> None:
    """The file states the system and processor that it was built for."""
    assert (info.format, info.system, *info.architectures) == TARGETS[target]


def test_manifest(info: LibraryInfo) -> None:
    """The complete manifest is found in every format."""
    assert info.manifest_problem is None
    assert info.manifest is not None
    assert (info.manifest["name"], info.manifest["abi"], info.manifest["thread_safe"]) == ("weather_c", 1, True)
    assert "reports" in info.manifest["config_schema"]["properties"]


def test_symbols(info: LibraryInfo) -> None:
    """The library exports the functions of the ABI, and none of its internal ones."""
    assert set(REQUIRED_SYMBOLS) <= info.exports
    assert not [name for name in info.exports if name.startswith(("metar_", "json_"))]


def test_loads_there(target: str, info: LibraryInfo) -> None:
    """On the system that it was built for, the library has no problems."""
    _, system, machine = TARGETS[target]

    assert problems(info, system=system, machine=machine) == []


def test_is_refused_here(target: str, library: Path) -> None:
    """Elsewhere the library is rejected before the dynamic linker sees it, with the actual and the needed platform."""
    _, system, machine = TARGETS[target]
    if (system, machine) == (this_system(), this_machine()):
        pytest.skip("it was built for this very system")

    with pytest.raises(WrongPlatformError) as refused:
        load(library)

    assert f"built for {system} {machine}" in str(refused.value)
    assert f"needs {this_system()} {this_machine()}" in str(refused.value)


def test_inspect_names_the_platform(target: str, library: Path) -> None:
    """`backworks plugin inspect` describes a library for another system, and says why it cannot be loaded."""
    _, system, machine = TARGETS[target]
    here = (system, machine) == (this_system(), this_machine())
    command = [sys.executable, "-m", "backworks", "plugin", "inspect", "--json", str(library)]

    done = subprocess.run(command, capture_output=True, text=True, check=False)
    report = json.loads(done.stdout)

    assert (report["name"], report["version"], report["platform"]) == ("weather_c", "1.0.0", f"{system} {machine}")
    assert report["manifest"]["name"] == "weather_c"
    assert set(REQUIRED_SYMBOLS) <= set(report["symbols"])
    assert report["loadable"] is here
    assert len(report["problems"]) == (0 if here else 1)
    assert done.returncode == (0 if here else 4)
