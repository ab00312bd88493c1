"""Merkle tree of RFC 9162: worked by hand for small trees, by property for the rest, and every proof can be refused."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from console.errors import InputError
from console.ledger.merkle import (
    InclusionProof,
    TreeBuilder,
    inclusion_proof,
    leaf_hash,
    node_hash,
    tree_root,
    verify_inclusion,
)

# The leaves of the reference tree that Certificate Transparency implementations test against (github.com/google/
# certificate-transparency, merkletree tests), and its published roots for 0 to 8 leaves.
REFERENCE_LEAVES = [
    bytes.fromhex(text)
    for text in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
REFERENCE_ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def defined_root(leaves: list[bytes]) -> bytes:
    """MTH of RFC 9162, section 2.1.1, word for word."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return hashlib.sha256(b"\x01" + defined_root(leaves[:k]) + defined_root(leaves[k:])).digest()


@pytest.mark.parametrize("size", range(9))
def test_published_roots(size: int) -> None:
    assert tree_root(REFERENCE_LEAVES[:size]).hex() == REFERENCE_ROOTS[size]


def test_seven_leaves_as_drawn_in_the_rfc() -> None:
    # RFC 9162, section 2.1.5: PATH(0) = [b, h, l], PATH(3) = [c, g, l], PATH(4) = [f, j, k], PATH(6) = [i, k].
    leaves = [bytes([number]) for number in range(7)]
    a, b, c, d, e, f, j = (leaf_hash(leaf) for leaf in leaves)
    g, h, i = node_hash(a, b), node_hash(c, d), node_hash(e, f)
    k, lower = node_hash(g, h), node_hash(i, j)
    assert inclusion_proof(leaves, 0) == [b, h, lower]
    assert inclusion_proof(leaves, 3) == [c, g, lower]
    assert inclusion_proof(leaves, 4) == [f, j, k]
    assert inclusion_proof(leaves, 6) == [i, k]
    assert tree_root(leaves) == node_hash(k, lower)


leaf_lists = st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=40, unique=True)


@given(leaf_lists, st.data())
@settings(max_examples=150, deadline=None)
def test_every_leaf_is_proved_and_nothing_else(leaves: list[bytes], data: st.DataObject) -> None:
    root = tree_root(leaves)
    assert root == defined_root(leaves)
    index = data.draw(st.integers(0, len(leaves) - 1))
    proof = inclusion_proof(leaves, index)
    assert verify_inclusion(leaves[index], index, len(leaves), proof, root)
    assert not verify_inclusion(b"\xff" * 31, index, len(leaves), proof, root)
    assert not verify_inclusion(leaves[index], index, len(leaves), [*proof, root], root)
    for other in {(index + 1) % len(leaves), len(leaves), -1} - {index}:
        assert not verify_inclusion(leaves[index], other, len(leaves), proof, root)
    if proof:
        assert not verify_inclusion(leaves[index], index, len(leaves), proof[:-1], root)
        spoiled = [bytes([proof[0][0] ^ 1]) + proof[0][1:], *proof[1:]]
        assert not verify_inclusion(leaves[index], index, len(leaves), spoiled, root)


@given(leaf_lists)
@settings(max_examples=50, deadline=None)
def test_the_growing_tree_has_the_defined_root_at_every_size(leaves: list[bytes]) -> None:
    builder = TreeBuilder()
    for size, leaf in enumerate(leaves, start=1):
        builder.append(leaf)
        assert (builder.size, builder.root()) == (size, defined_root(leaves[:size]))


def test_a_node_cannot_pass_as_a_leaf() -> None:
    leaves = [b"a", b"b"]
    inner = leaf_hash(b"a") + leaf_hash(b"b")
    assert not verify_inclusion(inner, 0, 1, [], tree_root(leaves))


def test_there_is_no_proof_of_a_leaf_that_is_not_there() -> None:
    for index in (-1, 3):
        with pytest.raises(IndexError):
            inclusion_proof([b"a", b"b", b"c"], index)


def report_proof() -> InclusionProof:
    leaves = [bytes([number]) * 32 for number in range(5)]
    path = tuple(node.hex() for node in inclusion_proof(leaves, 2))
    return InclusionProof(3, 5, leaves[2].hex(), path, tree_root(leaves).hex())


def test_a_proof_survives_the_report_and_can_be_refused() -> None:
    proof = InclusionProof.from_json(report_proof().to_json())
    assert proof == report_proof() and proof.holds()
    assert not InclusionProof.from_json(proof.to_json() | {"seq": 2}).holds()
    assert not InclusionProof.from_json(proof.to_json() | {"root": "00" * 32}).holds()


@pytest.mark.parametrize(
    "change",
    [
        {"seq": "3"},
        {"size": True},
        {"root": "xyz"},
        {"root": "00"},
        {"event_hash": None},
        {"path": [1]},
        {"path": None},
    ],
)
def test_a_damaged_proof_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(InputError):
        InclusionProof.from_json(report_proof().to_json() | change)


@pytest.mark.parametrize("data", [None, [], "proof", {}])
def test_what_is_no_proof_is_refused(data: object) -> None:
    with pytest.raises(InputError):
        InclusionProof.from_json(data)
