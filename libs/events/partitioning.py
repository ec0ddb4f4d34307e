"""Which partition a key belongs to: Kafka's murmur2, so that a move to Kafka moves no session."""

from __future__ import annotations

_M = 0x5BD1E995
_SEED = 0x9747B28C
_32 = 0xFFFFFFFF


def murmur2(data: bytes) -> int:
    """Return Kafka's 32-bit murmur2 of `data`, unsigned (Java prints it signed)."""
    length = len(data)
    value = (_SEED ^ length) & _32
    whole = length & ~3
    for start in range(0, whole, 4):
        k = int.from_bytes(data[start : start + 4], "little") * _M & _32
        k = (k ^ (k >> 24)) * _M & _32
        value = (value * _M & _32) ^ k
    if rest := data[whole:]:
        value = (value ^ int.from_bytes(rest, "little")) * _M & _32
    value = (value ^ (value >> 13)) * _M & _32
    return value ^ (value >> 15)


def partition_for(key: str, partitions: int) -> int:
    """Return 0 <= partition < `partitions`, as Kafka's default partitioner does."""
    return (murmur2(key.encode()) & 0x7FFFFFFF) % partitions
