"""Packing of small codes into bytes."""

from math import gcd

import torch
from torch import Tensor


def pack(codes: Tensor, bits: int) -> Tensor:
    """Bytes that hold codes (integers below 2^bits) one after the other, the last byte filled up; flat uint8."""
    flat = codes.reshape(-1)
    if bits == 8:
        return flat.to(torch.uint8)
    each = 8 // gcd(8, bits)  # codes that fill whole bytes
    if each * bits == 8:
        one_byte = torch.nn.functional.pad(flat.to(torch.uint8), (0, -flat.numel() % each)).reshape(-1, each)
        packed = one_byte[:, 0].clone()
        for i in range(1, each):
            packed |= one_byte[:, i] << (i * bits)
        return packed
    if each * bits > 63:
        places = torch.arange(bits, device=flat.device)
        return pack(((flat[:, None].to(torch.int32) >> places) & 1).reshape(-1), 1)
    words = torch.nn.functional.pad(flat, (0, -flat.numel() % each)).reshape(-1, each).to(torch.int64)
    joined = (words << torch.arange(0, each * bits, bits, device=flat.device)).sum(1)
    found = (joined[:, None] >> torch.arange(0, each * bits, 8, device=flat.device)) & 255
    return found.reshape(-1)[: -(-flat.numel() * bits // 8)].to(torch.uint8)


def pack_each(codes: Tensor, bits: int) -> Tensor:
    """The same for each entry [..] of codes [R, ..], which begins with a byte of its own: uint8 [R, bytes]."""
    flat = codes.flatten(1)
    if flat.shape[1] * bits % 8 == 0:
        return pack(flat, bits).reshape(len(flat), flat.shape[1] * bits // 8)
    return torch.stack([pack(row, bits) for row in flat])


def unpack(packed: Tensor, bits: int, many: int) -> Tensor:
    """The first `many` codes of `pack(codes, bits)`, uint8, or int32 where they are wider."""
    if bits == 8:
        return packed[:many]
    each = 8 // bits if 8 % bits == 0 else 0
    if each:
        shifts = torch.arange(0, 8, bits, device=packed.device, dtype=torch.int32)
        codes = (packed[:, None].to(torch.int32) >> shifts) & (2**bits - 1)
        return codes.reshape(-1)[:many].to(torch.uint8)
    places = torch.arange(bits, device=packed.device)
    stream = unpack(packed, 1, many * bits).reshape(many, bits).to(torch.int32)
    return (stream << places).sum(1).to(torch.uint8 if bits <= 8 else torch.int32)


def pack_trits(codes: Tensor) -> Tensor:
    """Bytes that hold codes 0, 1 and 2, five to a byte (3^5 = 243), the last filled up; flat uint8."""
    flat = codes.reshape(-1)
    fives = torch.nn.functional.pad(flat, (0, -flat.numel() % 5)).reshape(-1, 5).to(torch.int32)
    return (fives * 3 ** torch.arange(5, device=flat.device)).sum(1).to(torch.uint8)


def unpack_trits(packed: Tensor, many: int) -> Tensor:
    """The first `many` codes of `pack_trits(codes)`, uint8."""
    codes = packed[:, None].to(torch.int32) // 3 ** torch.arange(5, device=packed.device) % 3
    return codes.reshape(-1)[:many].to(torch.uint8)
