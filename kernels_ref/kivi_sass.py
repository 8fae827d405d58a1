"""`python -m kernels_ref.kivi_sass`: machine instructions per element in the KIVI decode kernel's loop; needs no GPU.

The loop over pages is compiled for an H100 (sm_90), disassembled with the tools that Triton brings, and counted: one
pass of one warp handles 128 tokens x dim keys and as many values, 1 / 32 of them a lane.
"""

import argparse
import collections
import re
import subprocess
import tempfile
from pathlib import Path

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from kernels_ref.kivi_decode import kivi_kernel, registers_of

CUOBJDUMP = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"


def compiled(bits: int, dim: int, group_heads: int) -> bytes:
    """The cubin for bf16 queries, groups of 32 and 8 kv heads."""
    heads = max(8, triton.next_power_of_2(group_heads))
    types = dict.fromkeys(["k_scale", "k_min", "v_scale", "v_min"], "*fp16")
    types |= dict.fromkeys(["q", "k_res", "v_res"], "*bf16") | dict.fromkeys(["k_codes", "v_codes"], "*i16")
    types |= dict.fromkeys(["table", "pages", "residual"], "*i32") | {"partial": "*fp32", "lse": "*fp32"}
    types |= {"scale": "fp32"} | dict.fromkeys(["each", "table_width", "splits"], "i32")
    constants = {
        "KV_HEADS": 8,
        "GROUP_HEADS": group_heads,
        "HEADS": heads,
        "DIM": dim,
        "BITS": bits,
        "GROUP": 32,
        "PAD": triton.next_power_of_2(dim),
        "PTX": True,
    }
    names = kivi_kernel.arg_names
    aligned = {(i,): [["tt.divisibility", 16]] for i, name in enumerate(names) if types.get(name, "")[:1] == "*"}
    source = ASTSource(kivi_kernel, {name: types.get(name, "constexpr") for name in names}, constants, aligned)
    options = {"num_warps": 1, "num_stages": 1, "maxnreg": registers_of(heads)}
    return triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options).asm["cubin"]


def longest_loop(cubin: bytes) -> collections.Counter[str]:
    """Instructions by name between the target of the farthest backward branch and that branch."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        dump = [str(CUOBJDUMP), "--dump-sass", file.name]
        text = subprocess.run(dump, capture_output=True, text=True, check=True).stdout
    found = re.findall(r"/\*([0-9a-f]{4,5})\*/\s+(?:@!?U?P\w+\s+)?([A-Z0-9_]+)([^;]*);", text)
    code = [(int(at, 16), name, rest) for at, name, rest in found]
    loops = []
    for at, name, rest in code:
        target = re.search(r"0x([0-9a-f]+)", rest)
        if name == "BRA" and target and int(target[1], 16) < at:
            loops.append((at - int(target[1], 16), int(target[1], 16), at))
    _, begin, end = max(loops)
    return collections.Counter(name for at, name, _ in code if begin <= at <= end)


def main() -> None:
    """Prints one line a shape: instructions per element, then the commonest."""
    parser = argparse.ArgumentParser(prog="python -m kernels_ref.kivi_sass", description=__doc__.split("\n")[0])
    parser.parse_args()
    for bits, dim, group_heads in [(2, 128, 4), (2, 64, 4), (2, 96, 4), (2, 128, 16), (4, 128, 4), (4, 64, 4)]:
        names = longest_loop(compiled(bits, dim, group_heads))
        total, elements = sum(names.values()), 2 * 128 * dim // 32
        most = " ".join(f"{name}={n}" for name, n in names.most_common(8))
        print(f"bits={bits} dim={dim} group={group_heads}: {total} / {elements} = {total / elements:.2f}  {most}")


if __name__ == "__main__":
    main()
