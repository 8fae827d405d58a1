"""Tensor parallel over two processes (gloo here, NCCL on GPUs): the tokens of a dense pass, one clock."""

import os
import socket

import torch
import torch.multiprocessing as mp
from tiny import burst, check_greedy, execute

from kernels_ref.executor.parallel import of_environment

OWN = {"kv_blocks": 40, "max_num_batched_tokens": 64, "max_num_seqs": 8}


def worker(rank: int, port: int, queue) -> None:
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    torch.set_num_threads(1)
    group, _ = of_environment("cpu")
    run, executor = execute(burst(count=5, outputs=12), "full", OWN, group=group, hw="h100x2")
    tokens = {i: executor.texts.of(i) for i in range(5)}
    queue.put((rank, tokens, run.columns.done_s.tolist(), check_greedy(executor, run), executor.decoder.weights.nbytes))


def test_two_chips() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = mp.get_context("spawn")
    queue = context.Queue()
    workers = [context.Process(target=worker, args=(rank, port, queue)) for rank in range(2)]
    for one in workers:
        one.start()
    found = sorted(queue.get(timeout=120) for _ in workers)
    for one in workers:
        one.join(30)
        assert one.exitcode == 0
    (_, tokens, done, checked, nbytes), (_, others, times, _, _) = found
    assert tokens == others and done == times and checked > 10
    _, alone = execute(burst(count=5, outputs=12), "full", OWN)
    norms = 5 * 64 * 2  # held whole by each
    assert nbytes == (alone.decoder.weights.nbytes - norms) // 2 + norms
