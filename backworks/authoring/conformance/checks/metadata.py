"""A plugin's metadata, in its file and from its functions."""

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
#: The symbols that linkers and the C++ standard library export by default.
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
    """Every exported name that starts with backworks_plugin_ is part of the ABI, so none is misspelt."""
    known = (*_ABI, _MANIFEST)
    for name in sorted(subject.info.exports):
        if name.startswith(_PREFIX) and name not in known:
            near = difflib.get_close_matches(name, known, 1)
            raise Failed(
                f"the file exports {name}, which is not part of the ABI{f'; did you mean {near[0]}?' if near else ''}",
                f"with this prefix: {', '.join(sorted(known))}",
            )
    return f"exports {', '.join(sorted(name.removeprefix(_PREFIX) for name in _ABI & subject.info.exports))}"


@check("metadata", "exports the symbols declared below", needs=(), in_process=True)
def symbols_only(subject: Subject) -> str:
    """The library exports nothing outside the ABI, which could override a function of another library."""
    others = sorted(
        name for name in subject.info.exports if not name.startswith(_PREFIX) and not _TOOLCHAIN.fullmatch(name)
    )
    if others:
        more = f" and {len(others) - _SHOWN} more" if len(others) > _SHOWN else ""
        raise Failed(
            f"the file exports {', '.join(others[:_SHOWN])}{more}",
            "only backworks_plugin_ names: hide others with -fvisibility=hidden, static or a version script",
        )
    return f"{len(subject.info.exports)} exported names"


@check("metadata", "The manifest is optional; a plugin without one cannot be listed", needs=())
def manifest_valid(subject: Subject) -> str:
    """The manifest exists, can be read without running the plugin, and is valid."""
    if subject.info.manifest_problem is not None:
        raise Failed(f"the manifest is invalid: {subject.info.manifest_problem}", "a manifest as the header describes")
    if subject.info.manifest is None:
        raise Warned(
            "the file has no manifest, so the plugin cannot be listed, checked or configured without running it",
            "a manifest: add it with BACKWORKS_PLUGIN in C, with export_plugin!(Plugin, MANIFEST) in Rust",
        )
    return f"has {', '.join(subject.info.manifest)}"


@check("metadata", "a JSON Schema (2020-12) of the configuration object", needs=("manifest-valid",))
def config_schema(subject: Subject) -> str:
    """The manifest's config_schema is a JSON Schema, and accepts the configuration used here."""
    if "config_schema" not in subject.manifest:
        raise Skipped("the manifest has no config_schema")
    from backworks.loading.schema import violations

    found = violations(json.loads(subject.config), subject.manifest["config_schema"])
    if found:
        where = ".".join(map(str, ("config", *found[0].where)))
        raise Failed(
            f"{where}: {found[0].message}", "a JSON Schema (2020-12) that accepts the configuration given by --config"
        )
    return f"accepts the configuration {subject.config.decode()[:80]}"


@check("metadata", 'Must equal the manifest\'s "name"', needs=("manifest-valid", "name-valid", "version-valid"))
def manifest_agrees(subject: Subject) -> str:
    """The functions return the same name, version and ABI as the manifest."""
    if subject.info.manifest is None:
        raise Skipped("the file has no manifest")
    returned = {
        "name": (subject.text("name")[1] or b"").decode(),
        "version": (subject.text("version")[1] or b"").decode(),
        "abi": subject.function("abi_version")(),
    }
    for member, value in returned.items():
        if subject.manifest[member] != value:
            function = "abi_version" if member == "abi" else member
            raise Failed(
                f"backworks_plugin_{function}() returns {value!r}, the manifest has {subject.manifest[member]!r}",
                "the same value in both",
            )
    return f"both have {returned['name']} {returned['version']}, ABI {returned['abi']}"


@check("metadata", "1 to 64 characters of [a-z0-9._-], the first a letter or a digit", needs=("abi-version",))
def name_valid(subject: Subject) -> str:
    """The name is valid."""
    return _identity(subject, "name", "1 to 64 characters of [a-z0-9._-], the first a letter or a digit")


@check("metadata", "Returns the plugin's version as in https://semver.org", needs=("abi-version",))
def version_valid(subject: Subject) -> str:
    """The version is a semantic version."""
    return _identity(subject, "version", 'a semantic version, such as "1.2.0"')


def _identity(subject: Subject, function: str, accepted: str) -> str:
    text = subject.text(function)[1]
    grammar = {"name": NAME, "version": SEMVER}[function]
    if text is None or not text.isascii() or not grammar.fullmatch(text.decode()):
        raise Failed(f"backworks_plugin_{function}() returns {'NULL' if text is None else repr(text[:80])}", accepted)
    return f"backworks_plugin_{function}() returns {text.decode()!r}"


@check("metadata", "Returns one sentence about the plugin, in NUL-terminated static memory", needs=("abi-version",))
def description_valid(subject: Subject) -> str:
    """The description, if there is one, is a line of UTF-8."""
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
    """Name, version and description are always the same bytes, in static memory."""
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
                f"{name}() returned {text!r}; after a shutdown the same memory holds {now!r} and "
                f"{name}() returns {again!r}",
                "static memory that never changes",
            )

    def all_of_them() -> None:
        for name in names:
            subject.function(name)()

    done = watch(all_of_them, f"calls of {', '.join(names)}", "static memory, not a new copy for each call")
    return f"{', '.join(f'{name}()' for name in names)}, also after shutdown, {done.number:,} times"
