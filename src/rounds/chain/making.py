"""Memory that making a model for `rounds bench` takes, weights mapped from files left out: drawn, exported, packed.

Weights are drawn in pieces; transformers, the exporter and NNCF read them where the file is mapped. What is left is
the libraries, what is packed already, and the largest matrix, which NNCF packs first and in float32. The constants were
measured at half a billion weights and at parts of that. Left out on purpose: GPTQ (`rounds.chain.plan`).
"""

from __future__ import annotations

from collections.abc import Collection

from rounds.chain.shape import Shape

CHECKPOINT, EXPORT, PACKED, EVERYTHING = "checkpoint", "export", "packed", "packed-everything"
"""What an engine reads: the checkpoint, its 16-bit OpenVINO export, the 4-bit one, that with all of it in 4 bits."""
DRAWING, EXPORTING, PACKING = 510_000_000, 470_000_000, 250_000_000
"""Bytes of a process that has loaded what a step needs; of the first, the piece that is drawn too."""
LAYER, TOKEN = 8_000_000, 1650
"""Bytes the exporter keeps for a layer, and takes for an entry of the vocabulary while it traces a few tokens."""
TABLE = {PACKED: 11, EVERYTHING: 9}
"""Bytes a weight of the table of embeddings, the largest matrix, while NNCF packs it in 8 or 4 bits."""


def making(shape: Shape, kinds: Collection[str]) -> int:
    """Bytes of memory at the peak of a process that makes these: some of CHECKPOINT, EXPORT, PACKED, EVERYTHING."""
    steps, held = [DRAWING] if CHECKPOINT in kinds else [], PACKING
    if EXPORT in kinds:
        held = EXPORTING + LAYER * shape.layers
        steps.append(held + TOKEN * shape.vocabulary)
    for kind in sorted(TABLE.keys() & kinds):
        packed = shape.packed_bytes(4, 128, kind == EVERYTHING)
        steps.append(held + max(TABLE[kind] * shape.vocabulary * shape.width, packed))
    return max(steps, default=0)
