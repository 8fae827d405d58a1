"""Packing of small codes into bytes."""

from math import gcd

import torch
from torch import Tensor


def pack(codes: Tensor, bits: int) -> Tensor:
    """Bytes that hold codes (uint8, below 2^bits) one after the other, the last byte filled up; flat uint8."""
    flat = codes.reshape(-1)
    if bits == 8:
        return flat.to(torch.uint8)
    if 8 % bits == 0:
        each = 8 // bits
        padded = torch.nn.functional.pad(flat, (0, -flat.numel() % each)).reshape(-1, each).to(torch.int32)
        shifts = torch.arange(0, 8, bits, device=flat.device, dtype=torch.int32)
        return (padded << shifts).sum(1).to(torch.uint8)
    places = torch.arange(bits, device=flat.device)
    stream = ((flat[:, None].to(torch.int32) >> places) & 1).reshape(-1)
    return pack(stream.to(torch.uint8), 1)


def pack_each(codes: Tensor, bits: int) -> Tensor:
    """The same for each entry [..] of codes [R, ..], which begins with a byte of its own: uint8 [R, bytes]."""
    flat = codes.flatten(1)
    whole = torch.nn.functional.pad(flat, (0, -flat.shape[1] % (8 // gcd(bits, 8))))
    return pack(whole, bits).reshape(len(flat), whole.shape[1] * bits // 8)


def unpack(packed: Tensor, bits: int, many: int) -> Tensor:
    """The first `many` codes of `pack(codes, bits)`, uint8."""
    if bits == 8:
        return packed[:many]
    each = 8 // bits if 8 % bits == 0 else 0
    if each:
        shifts = torch.arange(0, 8, bits, device=packed.device, dtype=torch.int32)
        codes = (packed[:, None].to(torch.int32) >> shifts) & (2**bits - 1)
        return codes.reshape(-1)[:many].to(torch.uint8)
    places = torch.arange(bits, device=packed.device)
    stream = unpack(packed, 1, many * bits).reshape(many, bits).to(torch.int32)
    return (stream << places).sum(1).to(torch.uint8)
