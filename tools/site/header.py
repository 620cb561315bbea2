"""Generates the reference of the C header from its comments, without adding anything."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass, replace

__all__ = ["Item", "helpers", "items", "page"]

_BEGIN = "[backworks:declarations:begin] */"
_END = "/* [backworks:declarations:end] */"
_HELPERS = "#ifndef BACKWORKS_NO_HELPERS\n"
_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)


@dataclass(frozen=True)
class Item:
    """One declaration of the header.

    Attributes:
        name: The declared name.
        comment: The comment above it, without the comment markers.
        code: The declaration, including inner comments; for a helper, only its signature.
    """

    name: str
    comment: str
    code: str

    @property
    def anchor(self) -> str:
        """The target of links to it. Those of macros have a prefix, because targets are not case-sensitive."""
        return f"{'macro-' if self.name.isupper() else ''}{self.name}".lower()


def items(header: str) -> list[Item]:
    """Returns the declarations between the header's two markers, in order."""
    _, _, rest = header.partition(_BEGIN)
    declarations, _, _ = rest.partition(_END)
    return [_item(chunk) for chunk in _chunks(declarations)]


def helpers(header: str) -> list[Item]:
    """Returns the documented helpers in the header's last section, in order."""
    _, _, rest = header.partition(_HELPERS)
    found = []
    for chunk in _chunks(rest):
        if chunk.startswith("#define") and found:  # the second of two under one comment
            name = re.match(r"#define \w+(?:\([^)]*\))?", chunk)
            found[-1] = replace(found[-1], code=f"{found[-1].code}\n{name[0] if name else chunk}")
        if not chunk.startswith("/*") or "#endif" in chunk:
            continue
        item = _item(chunk)
        # Only the signature: the head of a function, or the name and arguments of a macro.
        lines = [line for line in item.code.splitlines() if not line.startswith("BACKWORKS_PRINTF")]
        if lines[0].startswith("#define"):
            names = re.findall(r"^#define \w+(?:\([^)]*\))?", item.code, re.MULTILINE)
            code = "\n".join(names)
        else:
            code = " ".join(lines).partition(" {")[0] + ";"
        found.append(Item(item.name, item.comment, re.sub(r"\s+", " ", code) if ";" in code else code))
    return found


def _chunks(text: str) -> list[str]:
    """Splits a text at blank lines outside comments and braces."""
    chunks: list[list[str]] = [[]]
    depth = 0
    inside = False  # a comment
    for line in text.strip("\n").splitlines():
        if not line.strip() and depth == 0 and not inside:
            chunks.append([])
            continue
        chunks[-1].append(line)
        if not inside:
            code = _COMMENT.sub("", line)
            inside = "/*" in code
            code = code.partition("/*")[0]
            depth += code.count("{") - code.count("}")
        elif "*/" in line:
            inside = False
    return ["\n".join(lines) for lines in chunks if lines]


def _item(chunk: str) -> Item:
    match = re.match(r"/\*(.*?)\*/\n(.*)", chunk, re.DOTALL)
    if match is None:
        raise ValueError(f"a declaration without a comment: {chunk.splitlines()[0]}")
    comment, code = match[1], match[2]
    name = re.search(r"#define (\w+)|typedef (?:struct|enum) (\w+)|\b(backworks_\w+)\(", code)
    if name is None:
        raise ValueError(f"a declaration without a name: {code.splitlines()[0]}")
    lines = [re.sub(r"^ \*(?: |$)", "", line) for line in comment.strip().splitlines()]
    return Item(next(filter(None, name.groups())), "\n".join(lines), code)


def page(header: str) -> str:
    """Returns the page in Markdown."""
    declared, helping = items(header), helpers(header)
    anchors = {item.name: item.anchor for item in (*declared, *helping)}
    top, _, _ = header.partition("#ifndef BACKWORKS_PLUGIN_H")
    top = "\n".join(re.sub(r"^ \*(?: |/|$)", "", line) for line in top.splitlines()[1:])
    parts = re.split(r"^\d\. (.+)\n-+\n", top, flags=re.MULTILINE)
    intro = parts[0].partition("Contents\n")[0].strip()
    version = re.search(r"#define BACKWORKS_ABI_VERSION (\d+)", header)
    number = version[1] if version else "?"
    made = f"Generated from the header of ABI {number}; `backworks sdk path --c` prints its directory."
    out = ["# backworks_plugin.h", made, _prose(intro, anchors)]
    for title, text in zip(parts[1::2], parts[2::2], strict=True):
        out += [f"## {title}", _prose(text, anchors)]
    out.append("## Declarations")
    out += [_section(item, anchors) for item in declared]
    out += ["## Helpers for C and C++", "Not part of the ABI: their use is optional."]
    out += [_section(item, anchors) for item in helping]
    return "\n\n".join(out) + "\n"


def _section(item: Item, anchors: dict[str, str]) -> str:
    return f"({item.anchor})=\n### {item.name}\n\n```c\n{item.code}\n```\n\n{_prose(item.comment, anchors)}"


def _prose(text: str, anchors: dict[str, str]) -> str:
    """Converts a comment to Markdown: paragraphs, lists, definitions, and preformatted text."""
    out = []
    for paragraph in re.split(r"\n\s*\n", text.strip("\n")):
        lines = paragraph.splitlines()
        if all(line.startswith("  ") for line in lines):
            out.append(f"```text\n{textwrap.dedent(paragraph)}\n```")
        elif re.match(r"\S+ {2,}\S", lines[0]):
            out.append(_words(lines, anchors))
        else:
            out.append(_inline(paragraph, anchors))
    return "\n\n".join(out)


def _words(lines: list[str], anchors: dict[str, str]) -> str:
    """Makes a definition list from terms followed by two or more spaces; definitions may continue on later lines."""
    found: list[list[str]] = []
    for line in lines:
        if match := re.match(r"(\S+) {2,}(.*)", line):
            found.append([match[1], match[2]])
        else:
            found[-1][1] += f" {line.strip()}"
    return "\n\n".join(f"`{word}`\n: {_inline(meaning, anchors)}" for word, meaning in found)


def _inline(text: str, anchors: dict[str, str]) -> str:
    """Formats names and tags as code, links those defined on the page, and escapes Markdown."""

    def one(match: re.Match[str]) -> str:
        word = match[0]
        if word.startswith("http"):
            return f"<{word}>"
        if word.startswith("`"):
            return word
        if (name := word.removesuffix("()")) in anchors:
            return f"[`{word}`](#{anchors[name]})"
        if len(word) > 1:
            return f"`{' '.join(word.split())}`"
        return f"\\{word}"

    pattern = r"`[^`]*`|https?://[^\s)]+|\[[a-z][^\]]*\]|\*?[A-Za-z]\w*_\w+(?:\.\w+)*(?:\(\))?|\*[a-z]+|[*<>\[\]_]"
    return re.sub(pattern, one, text)
