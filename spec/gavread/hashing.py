"""XXH3-64 with seed 0 (gav.md, section 2): short inputs in plain Python, long ones with numpy."""

import numpy as np

MASK = (1 << 64) - 1
P32_1, P32_2, P32_3 = 0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D
P64_1, P64_2, P64_3 = 0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9
P64_4, P64_5 = 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5
MX1, MX2 = 0x165667919E3779F9, 0x9FB21C651E98DF25

SECRET = bytes.fromhex(
    "b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671fcb79e64eccc0e578825ad07dccff7221"
    "b8084674f743248ee03590e6813a264c3c2852bb91c300cb88d0658b1b532ea371644897a20df94e3819ef46a9deacd8"
    "a8fa763fe39c343ff9dcbbc7c70b4f1d8a51e04bcdb45931c89f7ec9d9787364eac5ac8334d3ebc3c581a0fffa1363eb"
    "170ddd51b7f0da49d316552629d4689e2b16be587d47a1fc8ff8b8d17ad031ce45cb3a8f95160428afd7fbcabb4b407e"
)
BLOCK = 1024  # sixteen stripes of 64 bytes


def _u32(data, at):
    return int.from_bytes(data[at : at + 4], "little")


def _u64(data, at):
    return int.from_bytes(data[at : at + 8], "little")


def _fold(a, b):
    product = a * b
    return (product & MASK) ^ (product >> 64)


def _avalanche(h):
    h ^= h >> 37
    h = h * MX1 & MASK
    return h ^ (h >> 32)


def _avalanche64(h):
    h ^= h >> 33
    h = h * P64_2 & MASK
    h ^= h >> 29
    h = h * P64_3 & MASK
    return h ^ (h >> 32)


def _mix16(data, at, secret):
    return _fold(_u64(data, at) ^ _u64(SECRET, secret), _u64(data, at + 8) ^ _u64(SECRET, secret + 8))


def _up_to_16(data, n):
    if n > 8:
        lo = _u64(data, 0) ^ _u64(SECRET, 24) ^ _u64(SECRET, 32)
        hi = _u64(data, n - 8) ^ _u64(SECRET, 40) ^ _u64(SECRET, 48)
        swapped = int.from_bytes(lo.to_bytes(8, "little"), "big")
        return _avalanche((n + swapped + hi + _fold(lo, hi)) & MASK)
    if n >= 4:
        h = (_u32(data, n - 4) + (_u32(data, 0) << 32)) ^ _u64(SECRET, 8) ^ _u64(SECRET, 16)
        h ^= ((h << 49 | h >> 15) ^ (h << 24 | h >> 40)) & MASK
        h = h * MX2 & MASK
        h ^= (h >> 35) + n
        h = h * MX2 & MASK
        return h ^ (h >> 28)
    if n > 0:
        combined = data[0] << 16 | data[n >> 1] << 24 | data[n - 1] | n << 8
        return _avalanche64(combined ^ _u32(SECRET, 0) ^ _u32(SECRET, 4))
    return _avalanche64(_u64(SECRET, 56) ^ _u64(SECRET, 64))


def _up_to_128(data, n):
    h = n * P64_1
    for k in range((n - 1) // 32 + 1):
        h += _mix16(data, 16 * k, 32 * k) + _mix16(data, n - 16 * (k + 1), 32 * k + 16)
    return _avalanche(h & MASK)


def _up_to_240(data, n):
    h = n * P64_1
    for k in range(8):
        h += _mix16(data, 16 * k, 16 * k)
    h = _avalanche(h & MASK)
    for k in range(8, n // 16):
        h += _mix16(data, 16 * k, 16 * (k - 8) + 3)
    h += _mix16(data, n - 16, 136 - 17)
    return _avalanche(h & MASK)


def _keys(secret_offset, stripes):
    """The eight secret words of each stripe; a stripe's window starts 8 bytes after the one before."""
    starts = secret_offset + 8 * np.arange(stripes)
    return np.stack([np.frombuffer(SECRET[s : s + 64], "<u8") for s in starts])


def _contribution(stripes, keys):
    """What a run of stripes (… × count × 8) adds to the accumulators."""
    keyed = stripes ^ keys
    products = (keyed & np.uint64(0xFFFFFFFF)) * (keyed >> np.uint64(32))
    swapped = stripes[..., [1, 0, 3, 2, 5, 4, 7, 6]]
    return (products + swapped).sum(axis=-2, dtype=np.uint64)


def _long(data, n):
    acc = np.array([P32_3, P64_1, P64_2, P64_3, P64_4, P32_2, P64_5, P32_1], np.uint64)
    blocks = (n - 1) // BLOCK
    full = np.frombuffer(data, "<u8", blocks * 128).reshape(blocks, 16, 8)
    scramble = np.frombuffer(SECRET[-64:], "<u8")
    with np.errstate(over="ignore"):
        for added in _contribution(full, _keys(0, 16)):
            acc += added
            acc = (acc ^ (acc >> np.uint64(47)) ^ scramble) * np.uint64(P32_1)
        stripes = (n - 1 - blocks * BLOCK) // 64
        if stripes:
            rest = np.frombuffer(data, "<u8", stripes * 8, blocks * BLOCK).reshape(stripes, 8)
            acc += _contribution(rest, _keys(0, stripes))
        last = np.frombuffer(data[n - 64 :], "<u8").reshape(1, 8)
        acc += _contribution(last, _keys(192 - 64 - 7, 1))
    h = n * P64_1
    for k in range(4):
        h += _fold(int(acc[2 * k]) ^ _u64(SECRET, 11 + 16 * k), int(acc[2 * k + 1]) ^ _u64(SECRET, 19 + 16 * k))
    return _avalanche(h & MASK)


def xxh3_64(data):
    """XXH3-64 of a bytes-like object, seed 0."""
    data = bytes(data)
    n = len(data)
    if n <= 16:
        return _up_to_16(data, n)
    if n <= 128:
        return _up_to_128(data, n)
    return _up_to_240(data, n) if n <= 240 else _long(data, n)
