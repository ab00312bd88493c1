"""Merkle tree over the event hashes (RFC 9162, section 2.1), so that one report can prove one event.

A leaf is the 32 raw bytes of an event hash. ``SHA-256(0x00 ‖ leaf)`` and ``SHA-256(0x01 ‖ left ‖ right)`` keep leaves
and nodes apart, which stops a node from being presented as a leaf.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from console.errors import InputError


def leaf_hash(leaf: bytes) -> bytes:
    """``SHA-256(0x00 ‖ leaf)``."""
    return hashlib.sha256(b"\x00" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """``SHA-256(0x01 ‖ left ‖ right)``."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class TreeBuilder:
    """The tree as it grows: keeps only the roots of the complete subtrees, so it needs O(log n) memory."""

    def __init__(self) -> None:
        self.size = 0
        self._peaks: list[tuple[int, bytes]] = []

    def append(self, leaf: bytes) -> None:
        """Add one leaf at the end."""
        width, digest = 1, leaf_hash(leaf)
        while self._peaks and self._peaks[-1][0] == width:
            digest = node_hash(self._peaks.pop()[1], digest)
            width *= 2
        self._peaks.append((width, digest))
        self.size += 1

    def root(self) -> bytes:
        """The tree head of the leaves so far: SHA-256 of nothing when there are none."""
        if not self._peaks:
            return hashlib.sha256().digest()
        digest = self._peaks[-1][1]
        for _, peak in reversed(self._peaks[:-1]):
            digest = node_hash(peak, digest)
        return digest


def tree_root(leaves: Sequence[bytes]) -> bytes:
    """The Merkle tree head of ``leaves``."""
    builder = TreeBuilder()
    for leaf in leaves:
        builder.append(leaf)
    return builder.root()


def inclusion_proof(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """The audit path of leaf ``index`` (counted from 0), from the leaf's sibling upwards.

    Raises:
        IndexError: there is no such leaf.
    """
    if not 0 <= index < len(leaves):
        raise IndexError(f"leaf {index} of {len(leaves)}")
    if len(leaves) == 1:
        return []
    split = 1 << ((len(leaves) - 1).bit_length() - 1)
    if index < split:
        return [*inclusion_proof(leaves[:split], index), tree_root(leaves[split:])]
    return [*inclusion_proof(leaves[split:], index - split), tree_root(leaves[:split])]


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Whether ``proof`` shows that ``leaf`` is number ``index`` of the ``size`` leaves under ``root``.

    The algorithm of RFC 9162, section 2.1.3.2, step by step.
    """
    if not 0 <= index < size:
        return False
    fn, sn, digest = index, size - 1, leaf_hash(leaf)
    for sibling in proof:
        if sn == 0:
            return False
        if fn % 2 == 1 or fn == sn:
            digest = node_hash(sibling, digest)
            while fn % 2 == 0 and fn != 0:
                fn, sn = fn >> 1, sn >> 1
        else:
            digest = node_hash(digest, sibling)
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and digest == root


@dataclass(frozen=True)
class InclusionProof:
    """What a report embeds: event ``seq`` (from 1) with ``event_hash`` is in the first ``size`` events under ``root``.

    Hashes are lower-case hex.
    """

    seq: int
    size: int
    event_hash: str
    path: tuple[str, ...]
    root: str

    def holds(self) -> bool:
        """Whether the path leads from the event to the root."""
        path = [bytes.fromhex(node) for node in self.path]
        return verify_inclusion(bytes.fromhex(self.event_hash), self.seq - 1, self.size, path, bytes.fromhex(self.root))

    def to_json(self) -> dict[str, Any]:
        """The proof as JSON values without floats."""
        return {
            "event_hash": self.event_hash,
            "path": list(self.path),
            "root": self.root,
            "seq": self.seq,
            "size": self.size,
        }

    @classmethod
    def from_json(cls, data: object) -> InclusionProof:
        """The proof that ``to_json`` wrote, from a file that is not trusted.

        Raises:
            InputError: a field is missing or of another type, or a hash is not 32 bytes of hex.
        """
        try:
            proof = cls(
                seq=_integer(data["seq"]),  # type: ignore[index]
                size=_integer(data["size"]),  # type: ignore[index]
                event_hash=_digest(data["event_hash"]),  # type: ignore[index]
                path=tuple(_digest(node) for node in data["path"]),  # type: ignore[index]
                root=_digest(data["root"]),  # type: ignore[index]
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InputError("The inclusion proof is incomplete or damaged.") from error
        return proof


def _integer(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError("not an integer")
    return value


def _digest(value: object) -> str:
    if not isinstance(value, str) or len(bytes.fromhex(value)) != hashlib.sha256().digest_size:
        raise ValueError("not a SHA-256 in hex")
    return value
