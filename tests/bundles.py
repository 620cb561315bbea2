"""Plugins that bring along libraries and files: built from C, wherever a test wants them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from conftest import ECHO, LIBRARY

from backworks import sdk

__all__ = ["DEPENDENCY", "FROM_LINKED", "FROM_MODEL", "FROM_OPENED", "build_dependency", "build_plugin", "posix_only"]

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="Windows searches only the directory of the DLL")

#: The name of the dependency's file, by which the plugin needs it.
DEPENDENCY = LIBRARY.format("dep")

_ANSWER = "  return backworks_answer(response, request->data, request->data_size);"


def _answering(before: str, body: str) -> str:
    source = ECHO.replace(_ANSWER, f"  (void)request;\n{body}")
    head, separator, tail = source.partition("struct backworks_plugin {")
    return f"{head}{before}\n{separator}{tail}"


#: A plugin that answers with the value of the dependency that it is linked to.
FROM_LINKED = _answering(
    "extern const char *value(void);", "  return backworks_answer(response, value(), strlen(value()));"
)

_DIRECTORY = r"""
#include <dlfcn.h>
#include <stdio.h>
static void beside(char *path, size_t size, const char *name) {
  Dl_info info;
  dladdr((void *)&backworks_plugin_init, &info);
  snprintf(path, size, "%s", info.dli_fname);
  snprintf(strrchr(path, '/') + 1, 64, "%s", name);
}
"""

#: A plugin that answers with the content of the file that its request names, relative to its own directory.
FROM_MODEL = "#define _GNU_SOURCE\n" + _answering(
    _DIRECTORY,
    r"""
  char path[4096], text[64];
  char name[64] = {0};
  memcpy(name, request->data, request->data_size);
  beside(path, sizeof path, name);
  FILE *file = fopen(path, "r");
  if (file == NULL) return backworks_fail(response, BACKWORKS_NOT_FOUND, path);
  size_t size = fread(text, 1, sizeof text, file);
  fclose(file);
  return backworks_answer(response, text, size);""",
)

#: A plugin that answers with the value of a library that it opens by its name.
FROM_OPENED = "#define _GNU_SOURCE\n" + _answering(
    "#include <dlfcn.h>",
    rf"""
  void *library = dlopen("{DEPENDENCY}", RTLD_NOW);
  if (library == NULL) return backworks_fail(response, BACKWORKS_NOT_FOUND, dlerror());
  const char *(*value)(void) = (const char *(*)(void))dlsym(library, "value");
  return backworks_answer(response, value(), strlen(value()));""",
)


def build_dependency(
    cc: list[str], directory: Path, value: str, flags: Sequence[str] = (), source: str = "", name: str = DEPENDENCY
) -> Path:
    """Builds a library that exports ``value()``, and replaces the one that is there as a package manager does.

    Args:
        cc: The compiler.
        directory: Where to build it.
        value: What the function returns.
        flags: Further flags for the compiler.
        source: Another source.
        name: The name by which plugins need it; a process loads only one library of each name.
    """
    directory.mkdir(parents=True, exist_ok=True)
    code = directory / "dep.c"
    code.write_text(
        source or f'__attribute__((visibility("default"))) const char *value(void) {{ return "{value}"; }}',
        encoding="utf-8",
    )
    new = directory / "dep.new"
    named = f"-Wl,-install_name,@rpath/{name}" if sys.platform == "darwin" else f"-Wl,-soname,{name}"
    subprocess.run([*cc, "-shared", "-fPIC", named, str(code), "-o", str(new), *flags], check=True)
    code.unlink()
    if name != DEPENDENCY:
        (directory / DEPENDENCY).unlink(missing_ok=True)
        (directory / DEPENDENCY).symlink_to(name)  # for the linker, as packages for developers have it
    return new.replace(directory / name)


def build_plugin(
    cc: list[str],
    file: Path,
    source: str = FROM_LINKED,
    search: Sequence[str] = (),
    linked: Path | None = None,
    flags: Sequence[str] = (),
) -> Path:
    """Builds a plugin.

    Args:
        cc: The compiler.
        file: The library to build.
        source: Its source.
        search: Where it looks for what it needs, relative to its own directory, such as "lib".
        linked: The directory of the dependency that it is linked to.
        flags: Further flags for the compiler.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    code = file.with_suffix(".c")
    code.write_text(source, encoding="utf-8")
    own = "@loader_path" if sys.platform == "darwin" else "$ORIGIN"
    paths = [f"-Wl,-rpath,{own}/{place}" for place in search]
    link = [] if linked is None else [f"-L{linked}", "-ldep"]
    command = [*cc, "-std=c11", "-shared", "-fPIC", "-fvisibility=hidden", f"-I{sdk.path('c')}", str(code)]
    subprocess.run([*command, "-o", str(file), *paths, *link, *flags], check=True)
    code.unlink()
    return file
