"""A Linux for aarch64 that qemu's user mode runs here: Debian's Python, and the packages that the tests need.

Only what Python opens itself is in its root file system: qemu looks for each path there first, so that all else is this
machine's. A program that an emulated one starts is started by this machine's kernel, which knows no aarch64; in its
place stands a launcher, a script that has qemu run it.
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
#: What the emulated programs take for /.
SYSTEM = CACHE / "aarch64"
PYTHON = SYSTEM / "usr" / "bin" / "python3"
#: Debian's own place for packages, which is on the path with -I as well.
PACKAGES = SYSTEM / "usr" / "lib" / "python3" / "dist-packages"

_PLATFORMS = ("manylinux2014_aarch64", "manylinux_2_17_aarch64", "manylinux_2_28_aarch64")
#: A program of this machine, which is called by its own name.
_NOT_THERE = {"ziglang"}
_STAND_IN = """import subprocess
import sys

sys.exit(subprocess.call(["{zig}", *sys.argv[1:]]))
"""

#: Zig's compiler is clang, but for -fsyntax-only, which it does not know. The emulated Python calls the place of its
#: headers by the name that it has there.
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
    """Returns qemu's name and version, and installs it if need be."""
    install_debian({_QEMU: "qemu-user-static"})
    return run(_QEMU, "--version", what="qemu does not start").splitlines()[0]


def _launcher(path: Path, program: Path) -> None:
    """Writes a script that stands for a program for aarch64."""
    path.write_text(f"#!/bin/sh\n{launch_line(str(program))}\n", encoding="utf-8")
    path.chmod(0o755)


def stand_in(place: Path, program: Path) -> None:
    """Moves a program for aarch64 elsewhere, and puts a script that stands for it in its place."""
    place.replace(program)
    _launcher(place, program)


def launch_line(program: str) -> str:
    """Returns the line of sh that runs a program for aarch64 under the name that the script was called by."""
    # sh puts PWD into the environment, whether it was there or not.
    return f'unset PWD; exec {shutil.which(_QEMU)} -L "{SYSTEM}" -0 "$0" "{program}" "$@"'


def make() -> None:
    """Makes all of it, unless it is there and was made from the same."""
    steps = {"Debian's Python": _make_system, "wheels": _install_packages}
    makers = [Path(__file__).with_name(name) for name in ("aarch64.py", "zig.py")]
    words = "a Python for aarch64: two to four minutes and 600 MB"
    set_up(CACHE / "aarch64-made-from", words, steps, *makers, *_needed(), version())


def _make_system() -> None:
    """Makes the root file system from Debian's packages; none of their scripts runs."""
    install_debian({"debootstrap": "debootstrap"})
    fetched = CACHE / "debootstrap"
    shutil.rmtree(fetched, ignore_errors=True)
    shutil.rmtree(SYSTEM, ignore_errors=True)
    SYSTEM.mkdir(parents=True)
    bootstrap = ["debootstrap", "--arch=arm64", "--foreign", "--variant=minbase", f"--include={','.join(_WANTED)}"]
    run(*bootstrap, _SUITE, fetched, what="no packages of Debian for arm64")
    for package in sorted((fetched / "var" / "cache" / "apt" / "archives").glob("*.deb")):
        run("dpkg-deb", "-x", package, SYSTEM, what="a package is not unpacked")
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
        fail(f"the emulated Python says that it runs on {machine}")


def _needed() -> list[str]:
    """Returns what Backworks and its tests need."""
    return requirements("test", without=_NOT_THERE)


def install(target: Path, *packages: str | Path) -> None:
    """Installs wheels for aarch64, and what they need, into a folder."""
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-compile", "--target", target]
    for platform in _PLATFORMS:
        pip += ["--platform", platform]
    pip += ["--python-version", _SHORT, "--only-binary", ":all:"]
    run(*pip, *packages, what="the wheels for aarch64 are not installed")


def _install_packages() -> None:
    """Installs what the tests need where that Python looks for it."""
    shutil.rmtree(PACKAGES, ignore_errors=True)
    install(PACKAGES, *_needed())
    stand_in = PACKAGES / "ziglang"
    stand_in.mkdir()
    (stand_in / "__init__.py").touch()
    (stand_in / "__main__.py").write_text(_STAND_IN.format(zig=compiler().with_name("zig")), encoding="utf-8")


def compiler() -> Path:
    """Returns the C compiler, a program of this machine, with others beside it.

    Of a program that it makes it makes a launcher as well.
    """
    # $@ is what the compiler was told. A library stays what it is, and so does an object.
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
