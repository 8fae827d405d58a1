"""Decode attention over pages in plain Torch: for machines without a GPU, and what the kernels are held to."""

import torch


def decode_plain(
    q: torch.Tensor, k_pages: torch.Tensor, v_pages: torch.Tensor, table: torch.Tensor, lengths: torch.Tensor
) -> torch.Tensor:
    """As `kernels_ref.decode.decode`, for a table of pages; in float32."""
    kv_heads, page, dim = k_pages.shape[1:]
    out = torch.zeros_like(q)
    for row, length in enumerate(lengths.tolist()):
        if not length:
            continue
        used = table[row, : -(-length // page)].long()
        k, v = (
            x.view(torch.uint8)[used].view(x.dtype).transpose(0, 1).reshape(kv_heads, -1, dim)[:, :length].float()
            for x in (k_pages, v_pages)
        )
        mine = q[row].view(kv_heads, -1, dim).float()
        weights = torch.softmax(mine @ k.transpose(1, 2) * dim**-0.5, -1)
        out[row] = (weights @ v).reshape(q.shape[1], dim).to(q.dtype)
    return out
