"""What a plugin says about itself, in its file and through its functions."""

from __future__ import annotations

import difflib
import json
import re
from typing import TYPE_CHECKING

from backworks.authoring.conformance.catalogue import check
from backworks.authoring.conformance.growth import watch
from backworks.authoring.conformance.results import Failed, Skipped, Warned
from backworks.ffi.contract import OPTIONAL_SYMBOLS, REQUIRED_SYMBOLS
from backworks.loading.inspection.manifest import NAME
from backworks.loading.inspection.semver import SEMVER

if TYPE_CHECKING:
    from backworks.authoring.conformance.subject import Subject

_PREFIX = "backworks_plugin_"
_ABI = frozenset((*REQUIRED_SYMBOLS, *OPTIONAL_SYMBOLS))
_MANIFEST = "backworks_plugin_manifest"
#: What linkers and the standard library of C++ export without being asked.
_TOOLCHAIN = re.compile(
    r"_init|_fini|_edata|_end|_etext|__.*|_Z[TKN]*[VIS]*(St|N?9__gnu_cxx|N10__cxxabiv1|Sa|Ss|Si|So).*|_ZN?K?S[tabsiod].*"
)
_SHOWN = 6


@check("metadata", "A plugin is a shared library that exports the symbols declared below", needs=())
def symbols_required(subject: Subject) -> str:
    """The library exports every function that the ABI requires."""
    missing = [name for name in REQUIRED_SYMBOLS if name not in subject.info.exports]
    if missing:
        raise Failed(f"the file does not export {', '.join(missing)}", f"all of {', '.join(REQUIRED_SYMBOLS)}")
    return f"exports all {len(REQUIRED_SYMBOLS)}"


@check("metadata", "New functions are optional symbols, looked up by name", needs=())
def symbols_known(subject: Subject) -> str:
    """Every exported name that begins with backworks_plugin_ is one of the ABI's, so that none is misspelt."""
    known = (*_ABI, _MANIFEST)
    for name in sorted(subject.info.exports):
        if name.startswith(_PREFIX) and name not in known:
            near = difflib.get_close_matches(name, known, 1)
            raise Failed(
                f"the file exports {name}, which no host looks up{f'; {near[0]} is one of the ABI' if near else ''}",
                f"of this prefix: {', '.join(sorted(known))}",
            )
    return f"exports {', '.join(sorted(name.removeprefix(_PREFIX) for name in _ABI & subject.info.exports))}"


@check("metadata", "exports the symbols declared below", needs=(), in_process=True)
def symbols_only(subject: Subject) -> str:
    """The library exports nothing outside of the ABI, where it could stand in for another library's function."""
    others = sorted(
        name for name in subject.info.exports if not name.startswith(_PREFIX) and not _TOOLCHAIN.fullmatch(name)
    )
    if others:
        more = f" and {len(others) - _SHOWN} more" if len(others) > _SHOWN else ""
        raise Failed(
            f"the file exports {', '.join(others[:_SHOWN])}{more}",
            "names that begin with backworks_plugin_: hide the others (-fvisibility=hidden, static, a version script)",
        )
    return f"{len(subject.info.exports)} exported names"


@check("metadata", "The manifest is optional; a plugin without one cannot be listed", needs=())
def manifest_valid(subject: Subject) -> str:
    """The manifest is there, can be read without running the plugin, and is as the header wants it."""
    if subject.info.manifest_problem is not None:
        raise Failed(f"the manifest is broken: {subject.info.manifest_problem}", "a manifest as the header describes")
    if subject.info.manifest is None:
        raise Warned(
            "the file has no manifest, so that the plugin cannot be listed, checked or configured without being run",
            "a manifest: in C the macro BACKWORKS_PLUGIN writes it, in Rust export_plugin!(Plugin, MANIFEST)",
        )
    return f"has {', '.join(subject.info.manifest)}"


@check("metadata", "a JSON Schema (2020-12) of the configuration object", needs=("manifest-valid",))
def config_schema(subject: Subject) -> str:
    """The manifest's config_schema is a JSON Schema, and the configuration used here is valid by it."""
    if "config_schema" not in subject.manifest:
        raise Skipped("the manifest has no config_schema")
    from backworks.loading.schema import violations

    found = violations(json.loads(subject.config), subject.manifest["config_schema"])
    if found:
        where = ".".join(map(str, ("config", *found[0].where)))
        raise Failed(
            f"{where}: {found[0].message}", "a schema of 2020-12 that takes the configuration given by --config"
        )
    return f"takes the configuration {subject.config.decode()[:80]}"


@check("metadata", 'Must equal the manifest\'s "name"', needs=("manifest-valid", "name-valid", "version-valid"))
def manifest_agrees(subject: Subject) -> str:
    """The functions return the name, the version and the ABI that the manifest has."""
    if subject.info.manifest is None:
        raise Skipped("the file has no manifest")
    said = {
        "name": (subject.text("name")[1] or b"").decode(),
        "version": (subject.text("version")[1] or b"").decode(),
        "abi": subject.function("abi_version")(),
    }
    for member, value in said.items():
        if subject.manifest[member] != value:
            function = "abi_version" if member == "abi" else member
            raise Failed(
                f"backworks_plugin_{function}() returns {value!r}, the manifest has {subject.manifest[member]!r}",
                "the same in both",
            )
    return f"both say {said['name']} {said['version']}, ABI {said['abi']}"


@check("metadata", "1 to 64 characters of [a-z0-9._-], the first a letter or a digit", needs=("abi-version",))
def name_valid(subject: Subject) -> str:
    """The name is one that a host takes."""
    return _identity(subject, "name", "1 to 64 characters of [a-z0-9._-], the first a letter or a digit")


@check("metadata", "Returns the plugin's version as in https://semver.org", needs=("abi-version",))
def version_valid(subject: Subject) -> str:
    """The version is a semantic version."""
    return _identity(subject, "version", 'a version as in semver.org, such as "1.2.0"')


def _identity(subject: Subject, function: str, accepted: str) -> str:
    text = subject.text(function)[1]
    grammar = {"name": NAME, "version": SEMVER}[function]
    if text is None or not text.isascii() or not grammar.fullmatch(text.decode()):
        raise Failed(f"backworks_plugin_{function}() returns {'NULL' if text is None else repr(text[:80])}", accepted)
    return f"backworks_plugin_{function}() returns {text.decode()!r}"


@check("metadata", "Returns one sentence about the plugin, in NUL-terminated static memory", needs=("abi-version",))
def description_valid(subject: Subject) -> str:
    """The description, where there is one, is a line of UTF-8."""
    if not subject.has("description"):
        raise Skipped("the library does not export backworks_plugin_description, which is optional")
    text = subject.text("description")[1]
    try:
        good = text is not None and text.decode().strip().isprintable() and bool(text.strip())
    except UnicodeDecodeError:
        good = False
    if not good:
        found = "NULL" if text is None else repr(text[:80])
        raise Failed(f"backworks_plugin_description() returns {found}", "one sentence in UTF-8, on one line")
    return f"{(text or b'').decode()!r}"


@check("metadata", "in NUL-terminated static memory", needs=("answers", "name-valid", "version-valid"))
def identity_static(subject: Subject) -> str:
    """Name, version and description are always the same bytes, in memory that stays."""
    names = [name for name in ("name", "version", "description") if subject.has(name)]
    first = {name: subject.text(name) for name in names}
    instance = subject.start()
    for request in subject.requests:
        instance.call(request)
    instance.shutdown()
    import ctypes

    for name, (address, text) in first.items():
        now = ctypes.string_at(address, len(text or b"")) if address else None
        again = subject.text(name)[1]
        if text not in (now, None) or again != text:
            raise Failed(
                f"{name}() returned {text!r}; after an instance was made and ended, the same memory holds {now!r} and "
                f"{name}() returns {again!r}",
                "static memory, which never changes",
            )

    def all_of_them() -> None:
        for name in names:
            subject.function(name)()

    done = watch(all_of_them, f"calls of {', '.join(names)}", "static memory, not a new copy for each call")
    return f"{', '.join(f'{name}()' for name in names)}, also after shutdown and {done.number:,} times over"
