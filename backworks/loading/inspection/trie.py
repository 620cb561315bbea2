"""Reads the export trie of a Mach-O file, in which macOS's dynamic linker looks up names."""

from __future__ import annotations

from backworks.loading.inspection.reader import MAX_ENTRIES, Damaged

__all__ = ["exported"]

#: Names share prefixes, so their total length exceeds the size of the trie. This factor limits crafted tries; real ones
#: stay far below it.
_MAX_GROWTH = 64
_MAX_NAMES = 1 << 28  # bytes, whatever the size of the trie


def exported(trie: bytes) -> frozenset[str]:
    """Returns the names in the trie, with their leading underscores.

    Raises:
        Damaged: It is not a tree, extends past its end, or expands too much.
    """
    if not trie:
        return frozenset()
    names = set()
    seen = {0}
    todo = [(0, b"")]
    left = min(_MAX_GROWTH * len(trie), _MAX_NAMES)
    while todo:
        at, prefix = todo.pop()
        size, at = _number(trie, at)
        if size:
            names.add(prefix.decode("utf-8", "backslashreplace"))
        at += size
        if at >= len(trie):
            raise Damaged("the export trie is truncated")
        for _ in range(trie[at]):
            end = trie.find(b"\0", at + 1)
            if end < 0:
                raise Damaged("the export trie is truncated")
            label = trie[at + 1 : end]
            child, after = _number(trie, end + 1)
            at = after - 1
            left -= len(prefix) + len(label)
            if child in seen or len(seen) > MAX_ENTRIES or left < 0:
                raise Damaged("the export trie has a loop, or is too large")
            seen.add(child)
            todo.append((child, prefix + label))
    return frozenset(names)


def _number(data: bytes, at: int) -> tuple[int, int]:
    """Returns an unsigned LEB128 number of at most 64 bits, and the offset after it."""
    value = 0
    for shift in range(0, 64, 7):
        if at >= len(data):
            break
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return value, at
    raise Damaged("the export trie is truncated")
