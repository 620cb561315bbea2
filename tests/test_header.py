"""``backworks_plugin.h`` compiles everywhere without a warning, and all its users see the same layout."""

from __future__ import annotations

import ctypes
import logging
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from conftest import missing

from backworks import sdk
from backworks.errors import Code
from backworks.ffi import contract, ctypes_binding
from backworks.ffi.cffi_binding import ffi
from backworks.ffi.header import declarations

if TYPE_CHECKING:
    from pathlib import Path

WARNINGS = ("-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Werror")

#: Every compiler with every language that the header promises.
LANGUAGES = [
    (compiler, standard)
    for compiler, standards in (
        ("gcc", ("c11", "c17")),
        ("clang", ("c11", "c17")),
        ("g++", ("c++11", "c++14", "c++17", "c++20")),
        ("clang++", ("c++11", "c++14", "c++17", "c++20")),
    )
    for standard in standards
]

#: A complete plugin in the common subset of C and C++, which uses every helper.
PLUGIN = """
#include <backworks_plugin.h>
#include <backworks_plugin.h>

BACKWORKS_PLUGIN("both", "1.0.0", "description": "In C and in C++", "thread_safe": true)
BACKWORKS_PLUGIN_FREE_STRING

struct backworks_plugin {
  const backworks_host *host;
};

int32_t backworks_plugin_init(const backworks_host *host, const char *config, size_t config_size,
                              backworks_plugin **out, backworks_response *error) {
  backworks_plugin *plugin = (backworks_plugin *)malloc(sizeof *plugin);
  if (plugin == NULL || config_size == 0) {
    free(plugin);
    return backworks_fail(error, BACKWORKS_INVALID_ARGUMENT, "no configuration at %p", (const void *)config);
  }
  plugin->host = host;
  *out = plugin;
  return BACKWORKS_OK;
}

int32_t backworks_plugin_process_endpoint_data(backworks_plugin *plugin, const backworks_request *request,
                                               backworks_response *response) {
  backworks_log(plugin->host, BACKWORKS_INFO, "%d bytes", (int)request->data_size);
  if (backworks_equal(request->endpoint, request->endpoint_size, "/none")) {
    return backworks_not_mine(response);
  }
  backworks_set_content_type(response, "text/plain");
  return backworks_answer(response, request->data, request->data_size);
}

int32_t backworks_plugin_shutdown(backworks_plugin *plugin) {
  free(plugin);
  return BACKWORKS_OK;
}
"""

#: The header without its helpers, and nothing else.
DECLARATIONS = "#define BACKWORKS_NO_HELPERS\n#include <backworks_plugin.h>\ntypedef int not_empty;\n"

STRUCTURES = ("backworks_host", "backworks_request", "backworks_response", "backworks_manifest_header")
MIRRORS = (ctypes_binding.BackworksHost, ctypes_binding.BackworksRequest, ctypes_binding.BackworksResponse)

Layout = dict[str, tuple[int, int]]


def parsed_layout() -> Layout:
    """Returns the size of each structure, and the offset and size of each field, as cffi reads them."""
    layout: Layout = {}
    for name in STRUCTURES:
        structure = ffi.typeof(name)
        layout[name] = (0, ffi.sizeof(structure))
        for field, what in structure.fields:
            layout[f"{name}.{field}"] = (what.offset, ffi.sizeof(what.type))
    return layout


@pytest.fixture(scope="module", name="compiled")
def _compiled(cc: list[str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, ...]]:
    """Returns the same from a C compiler, with the constants, through a program that prints them."""
    lines = []
    for name in parsed_layout():
        structure, _, field = name.partition(".")
        sizes = f"(size_t)0, sizeof({structure})"
        if field:
            sizes = f"offsetof({structure}, {field}), sizeof((({structure} *)0)->{field})"
        lines.append(f'printf("{name} %zu %zu\\n", {sizes});')
    constants = ["BACKWORKS_ABI_VERSION", *re.findall(r"^  (BACKWORKS_\w+) =", declarations(), re.MULTILINE)]
    lines += [f'printf("{name} %d\\n", (int){name});' for name in constants]
    directory = tmp_path_factory.mktemp("layout")
    source, program = directory / "layout.c", directory / ("layout.exe" if sys.platform == "win32" else "layout")
    text = ["#include <backworks_plugin.h>", "int main(void) {", *lines, "return 0;", "}", ""]
    source.write_text("\n".join(text), encoding="utf-8")
    subprocess.run([*cc, "-std=c11", f"-I{sdk.path('c')}", str(source), "-o", str(program)], check=True)
    done = subprocess.run([str(program)], capture_output=True, text=True, check=True)
    return {name: tuple(map(int, numbers)) for name, *numbers in map(str.split, done.stdout.splitlines())}


class TestCompilers:
    """The header and a plugin, with every compiler and language."""

    @pytest.mark.parametrize("source", [PLUGIN, DECLARATIONS], ids=["plugin", "declarations"])
    @pytest.mark.parametrize(("compiler", "standard"), LANGUAGES)
    def test_no_warning(self, compiler: str, standard: str, source: str, tmp_path: Path) -> None:
        """The header compiles alone and included twice, with all warnings as errors, and its assertions hold."""
        if shutil.which(compiler) is None:
            missing(compiler)
        file = tmp_path / ("plugin.cpp" if "++" in compiler else "plugin.c")
        file.write_text(source, encoding="utf-8")
        done = subprocess.run(
            [compiler, f"-std={standard}", *WARNINGS, f"-I{sdk.path('c')}", "-fsyntax-only", str(file)],
            capture_output=True,
            text=True,
            check=False,
        )

        assert (done.returncode, done.stderr) == (0, "")


class TestLayout:
    """Sizes, offsets and constants."""

    def test_parsed(self, compiled: dict[str, tuple[int, ...]]) -> None:
        """A C compiler and cffi read the same from the header."""
        layout = parsed_layout()

        assert {name: compiled[name] for name in layout} == layout

    @pytest.mark.parametrize("mirror", MIRRORS, ids=lambda mirror: mirror.__name__)
    def test_mirrors(self, compiled: dict[str, tuple[int, ...]], mirror: type[ctypes.Structure]) -> None:
        """The structures of the ctypes binding match the header, field by field."""
        name = "backworks_" + mirror.__name__.removeprefix("Backworks").lower()
        ours = {name: (0, ctypes.sizeof(mirror))}
        for field in mirror._fields_:
            ours[f"{name}.{field[0]}"] = (getattr(mirror, field[0]).offset, getattr(mirror, field[0]).size)

        assert ours == {key: value for key, value in compiled.items() if key.split(".")[0] == name}

    def test_codes(self, compiled: dict[str, tuple[int, ...]]) -> None:
        """Python's codes match the header, by name and number."""
        assert {f"BACKWORKS_{code.name}": (code.value,) for code in Code} == {
            name: numbers for name, numbers in compiled.items() if name.removeprefix("BACKWORKS_") in Code.__members__
        }
        assert len(Code) == len(ffi.typeof("backworks_code").elements)

    def test_levels(self, compiled: dict[str, tuple[int, ...]]) -> None:
        """The header's log levels match those of logging."""
        for level in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"):
            assert compiled[f"BACKWORKS_{level}"] == (getattr(logging, level),)

    def test_version(self, compiled: dict[str, tuple[int, ...]]) -> None:
        """The host's ABI version matches the header."""
        assert compiled["BACKWORKS_ABI_VERSION"] == (contract.ABI_VERSION,)

    @pytest.mark.parametrize(
        ("tag", "symbols"), [("Required", contract.REQUIRED_SYMBOLS), ("Optional", contract.OPTIONAL_SYMBOLS)]
    )
    def test_symbols(self, tag: str, symbols: tuple[str, ...]) -> None:
        """The host's lists of required and optional functions match the header."""
        said = re.findall(rf"/\* {tag}\.(?:(?!\*/).)*\*/\s*[^;(]*?\b(\w+)\(", declarations(), re.DOTALL)

        assert sorted(said) == sorted(symbols)
