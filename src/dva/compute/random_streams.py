"""Separate random streams from one seed."""

import hashlib

__all__ = ["stream_seed"]


def stream_seed(seed: int, name: str) -> int:
    """Derives the seed of one stream from the seed that a user gives.

    Seeds that differ by little, such as seed and seed + 1, would make one run's noise another run's
    minibatches. A digest of seed and name has no such neighbours.

    Args:
        seed: any whole number.
        name: of the stream, such as "noise" or "starts".

    Returns:
        A number from 0 to 2^63 - 1. Its lower 32 bits, all that torch's generator on a CPU takes,
        differ as much as the rest.
    """
    digest = hashlib.sha256(f"{name}:{seed}".encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1
