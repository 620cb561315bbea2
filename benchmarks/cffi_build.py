"""Compiles the plain functions with cffi's API mode: ``python cffi_build.py DIRECTORY`` builds the module there."""

from __future__ import annotations

import sys
from pathlib import Path

import cffi

SOURCE = """
#include "answers.h"

static char *plain_answer(const char *data, size_t size, size_t *answer_size) {
  return answer_echo(data, size, answer_size);
}

static char *plain_hash(const char *data, size_t size, size_t *answer_size) {
  return answer_hash(data, size, answer_size);
}

static void plain_free(char *answer) {
  free(answer);
}
"""


def main(directory: str) -> None:
    """Compiles the module."""
    builder = cffi.FFI()
    builder.cdef(
        "char *plain_answer(const char *, size_t, size_t *);"
        "char *plain_hash(const char *, size_t, size_t *);"
        "void plain_free(char *);"
    )
    here = str(Path(__file__).resolve().parent / "peers")
    builder.set_source("cffi_module", SOURCE, include_dirs=[here], extra_compile_args=["-O3"])
    builder.compile(tmpdir=directory)


if __name__ == "__main__":
    main(*sys.argv[1:])
