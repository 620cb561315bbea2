"""Proves an installation of Backworks: finds the kits, compiles a plugin, and calls it, in a worker too.

Run it with the Python that has Backworks installed, from anywhere: ``python -I tests/isolated/installed.py``. It needs
a C compiler: ``$CC``, cc, gcc or clang, or else the package ziglang.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

import backworks
from backworks import sdk

PLUGIN = """
#include <backworks_plugin.h>

BACKWORKS_PLUGIN("installed", "1.0.0", "description": "Answers what it was sent")
BACKWORKS_PLUGIN_FREE_STRING

struct backworks_plugin {
  const backworks_host *host;
};

int32_t backworks_plugin_init(const backworks_host *host, const char *config, size_t config_size,
                              backworks_plugin **out, backworks_response *error) {
  static backworks_plugin plugin;
  (void)config;
  (void)config_size;
  (void)error;
  plugin.host = host;
  *out = &plugin;
  return BACKWORKS_OK;
}

int32_t backworks_plugin_process_endpoint_data(backworks_plugin *plugin, const backworks_request *request,
                                               backworks_response *response) {
  backworks_log(plugin->host, BACKWORKS_INFO, "called");
  return backworks_answer(response, request->data, request->data_size);
}

int32_t backworks_plugin_shutdown(backworks_plugin *plugin) {
  (void)plugin;
  return BACKWORKS_OK;
}
"""

CALL = """
import sys
import backworks
from backworks import ffi

with backworks.load(sys.argv[1], isolation=sys.argv[2]) as plugin:
    answer = plugin.process_endpoint_data("/echo", "POST", "h\\u00e9llo")
print(ffi.binding().name if sys.argv[2] == "none" else sys.argv[2], plugin.name, plugin.version, ascii(answer))
"""

LIBRARY = {"win32": "{}.dll", "darwin": "lib{}.dylib"}.get(sys.platform, "lib{}.so")


def compiler() -> list[str]:
    """Returns the command of a C compiler, or ends with a sentence."""
    if "CC" in os.environ:
        return shlex.split(os.environ["CC"])
    for name in ("cc", "gcc", "clang"):
        if found := shutil.which(name):
            return [found]
    zig = [sys.executable, "-m", "ziglang", "cc"]
    if subprocess.run([*zig, "--version"], capture_output=True, check=False).returncode == 0:
        return zig
    sys.exit("there is no C compiler: set CC, or pip install ziglang")


def main() -> None:
    """Ends with 0 if all works, and with the reason if something does not."""
    header, crate = sdk.path("c") / "backworks_plugin.h", sdk.path("rust") / "Cargo.toml"
    for file in (header, crate):
        if not file.is_relative_to(Path(sysconfig.get_path("platlib")).resolve()):
            sys.exit(f"{file} is not part of the installation")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:  # Windows keeps an open DLL
        source, library = Path(directory, "installed.c"), Path(directory, LIBRARY.format("installed"))
        source.write_text(PLUGIN, encoding="utf-8")
        position = [] if sys.platform == "win32" else ["-fPIC"]
        command = [*compiler(), "-shared", *position, f"-I{header.parent}", str(source), "-o", str(library)]
        subprocess.run(command, check=True)
        for name in ("native", "cffi", "ctypes", "process"):
            binding, isolation = ("native", name) if name == "process" else (name, "none")
            done = subprocess.run(
                [sys.executable, "-I", "-c", CALL, str(library), isolation],
                env={**os.environ, "BACKWORKS_FFI": binding},
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
            wanted = f"{name} installed 1.0.0 {'héllo'!a}"
            if done.stdout.strip() != wanted:
                sys.exit(f"found {done.stdout.strip()!r}, wanted {wanted!r}")
            print(wanted)
    print(f"backworks {backworks.__version__} works in {sys.prefix}")


if __name__ == "__main__":
    main()
