"""A Linux system for aarch64 under qemu's user mode: Debian's Python, and the packages that the tests need.

The root file system contains only the files that Python itself opens. qemu looks up each path there first, and falls
back to this machine's files. When an emulated program starts another, this machine's kernel has to execute it, which it
cannot do for aarch64; therefore each such program is replaced by a launcher, a script that runs it with qemu.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from tools.cross.zig import CACHE, tools
from tools.steps import fail, install_debian, requirements, run, set_up

__all__ = ["PACKAGES", "PYTHON", "compiler", "install", "make", "stand_in", "version"]

_QEMU = "qemu-aarch64-static"
_SUITE, _SHORT = "bookworm", "3.11"
_WANTED = ("python3", "python3-venv", "libpython3-dev", "musl")
#: The root directory of the emulated programs.
SYSTEM = CACHE / "aarch64"
PYTHON = SYSTEM / "usr" / "bin" / "python3"
#: Debian's directory for packages, which is on the path even with -I.
PACKAGES = SYSTEM / "usr" / "lib" / "python3" / "dist-packages"

_PLATFORMS = ("manylinux2014_aarch64", "manylinux_2_17_aarch64", "manylinux_2_28_aarch64")
#: Programs of this machine, which are called by their own names.
_NOT_THERE = {"ziglang"}
_STAND_IN = """import subprocess
import sys

sys.exit(subprocess.call(["{zig}", *sys.argv[1:]]))
"""

#: Zig's compiler is clang, but lacks -fsyntax-only. The emulated Python passes the path of its headers inside the
#: emulated system.
_CLANG = """#!/bin/sh
scratch=
for word in "$@"; do
  shift
  case "$word" in
  /usr/include/*) word="{system}$word" ;;
  -fsyntax-only) word=-c; scratch=$(mktemp -d); cd "$scratch" || exit ;;
  esac
  set -- "$@" "$word"
done
"{compiler}" "$@" -idirafter "{system}/usr/include"
code=$?
rm -rf "$scratch"
exit $code
"""


def version() -> str:
    """Returns qemu's name and version; installs it if necessary."""
    install_debian({_QEMU: "qemu-user-static"})
    return run(_QEMU, "--version", what="qemu does not start").splitlines()[0]


def _launcher(path: Path, program: Path) -> None:
    """Writes a script that runs a program for aarch64."""
    path.write_text(f"#!/bin/sh\n{launch_line(str(program))}\n", encoding="utf-8")
    path.chmod(0o755)


def stand_in(place: Path, program: Path) -> None:
    """Moves a program for aarch64, and puts a launcher in its place."""
    place.replace(program)
    _launcher(place, program)


def launch_line(program: str) -> str:
    """Returns the shell command that runs a program for aarch64 under the name of the calling script."""
    # sh adds PWD to the environment even if it was not set.
    return f'unset PWD; exec {shutil.which(_QEMU)} -L "{SYSTEM}" -0 "$0" "{program}" "$@"'


def make() -> None:
    """Sets up the system, unless it is up to date."""
    steps = {"Debian's Python": _make_system, "wheels": _install_packages}
    makers = [Path(__file__).with_name(name) for name in ("aarch64.py", "zig.py")]
    words = "a Python for aarch64, which takes two to four minutes and 600 MB"
    set_up(CACHE / "aarch64-made-from", words, steps, *makers, *_needed(), version())


def _make_system() -> None:
    """Creates the root file system from Debian's packages, without running their scripts."""
    install_debian({"debootstrap": "debootstrap"})
    fetched = CACHE / "debootstrap"
    shutil.rmtree(fetched, ignore_errors=True)
    shutil.rmtree(SYSTEM, ignore_errors=True)
    SYSTEM.mkdir(parents=True)
    bootstrap = ["debootstrap", "--arch=arm64", "--foreign", "--variant=minbase", f"--include={','.join(_WANTED)}"]
    run(*bootstrap, _SUITE, fetched, what="cannot fetch Debian's packages for arm64")
    for package in sorted((fetched / "var" / "cache" / "apt" / "archives").glob("*.deb")):
        run("dpkg-deb", "-x", package, SYSTEM, what="cannot unpack a package")
    shutil.rmtree(fetched)
    for path in SYSTEM.iterdir():
        if path.name not in {"lib", "usr"}:
            shutil.rmtree(path)
    for path in (SYSTEM / "usr").iterdir():
        if path.name not in {"bin", "include", "lib"}:
            shutil.rmtree(path)
    for path in PYTHON.parent.iterdir():
        if path.name != f"python{_SHORT}":
            path.unlink()
    _launcher(PYTHON, PYTHON.with_name(f"python{_SHORT}"))
    machine = run(PYTHON, "-c", "import platform; print(platform.machine())", what="Python does not start").strip()
    if machine != "aarch64":
        fail(f"the emulated Python runs on {machine}, not aarch64")


def _needed() -> list[str]:
    """Returns the packages that Backworks and its tests need."""
    return requirements("test", without=_NOT_THERE)


def install(target: Path, *packages: str | Path) -> None:
    """Installs wheels for aarch64 and their dependencies into a directory."""
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-compile", "--target", target]
    for platform in _PLATFORMS:
        pip += ["--platform", platform]
    pip += ["--python-version", _SHORT, "--only-binary", ":all:"]
    run(*pip, *packages, what="cannot install the wheels for aarch64")


def _install_packages() -> None:
    """Installs the packages that the tests need for the emulated Python."""
    shutil.rmtree(PACKAGES, ignore_errors=True)
    install(PACKAGES, *_needed())
    stand_in = PACKAGES / "ziglang"
    stand_in.mkdir()
    (stand_in / "__init__.py").touch()
    (stand_in / "__main__.py").write_text(_STAND_IN.format(zig=compiler().with_name("zig")), encoding="utf-8")


def compiler() -> Path:
    """Returns the C compiler, a program of this machine, with other tools beside it.

    For each program that it builds, it also writes a launcher.
    """
    # $@ has the compiler's arguments. Libraries and objects are left alone.
    made = f"""out=a.out; program=1; last=
for word in "$@"; do
  case "$last" in -o) out=$word ;; esac
  case "$word" in -shared|-c|-E|-S|-fsyntax-only|--version|-v|-print-*) program= ;; esac
  last=$word
done
test -n "$program" && test -f "$out" || exit 0
mv "$out" "$out.aarch64"
cat >"$out" <<'END'
#!/bin/sh
{launch_line("$0.aarch64")}
END
chmod +x "$out"
"""
    folder = tools("aarch64-linux-gnu", more=made)
    for name, command in (("clang", "cc"), ("clang++", "c++")):
        path = folder / name
        path.write_text(_CLANG.format(system=SYSTEM, compiler=folder / command), encoding="utf-8")
        path.chmod(0o755)
    return folder / "cc"
