"""A workload YAML: a trace file or a generator, and the model, hardware and policy that it is meant for."""

from typing import Literal

from pydantic import Field, model_validator

from kvsim.specs.load import Spec
from kvsim.traces.generators.agents import Agents
from kvsim.traces.generators.pool import Pool
from kvsim.traces.generators.prefixes import Prefixes
from kvsim.traces.generators.rag import Rag
from kvsim.traces.generators.servegen import ServeGen
from kvsim.traces.laws import Arrivals, Length, Share
from kvsim.traces.trace import MAX_TOKENS

GENERATORS = ("prefixes", "pool", "agents", "rag", "servegen")  # keys of `generate:`, modules of traces.generators


class Conversations(Spec):
    """Chats of several turns: a turn's prompt is a shared system prompt, all that was said before, and a new message.

    A chat starts with one of `system_prompts`, drawn by Zipf's law; the number of turns is geometric, and a turn
    follows the one before after an exponential pause. Prompts carry block ids, so that prefixes can be reused.
    """

    chats_per_s: float = Field(ge=1e-9, le=1e6)
    turns_mean: float = Field(default=4.0, ge=1, le=1000)
    pause_mean_s: float = Field(default=30.0, ge=0, le=1e9)
    system_prompts: int = Field(default=4, ge=1, le=100_000)
    system_tokens: int = Field(default=1024, ge=0, le=MAX_TOKENS)
    message: Length
    answer: Length
    block_tokens: int = Field(default=512, ge=1, le=2**20)
    max_prompt_tokens: int = Field(
        default=32_768, ge=1, le=MAX_TOKENS, description="a chat ends before a longer prompt"
    )

    @model_validator(mode="after")
    def _room(self) -> "Conversations":
        if self.system_tokens >= self.max_prompt_tokens:
            raise ValueError(f"system_tokens must be less than max_prompt_tokens, but got {self.system_tokens}")
        return self


class Generate(Spec):
    """Requests made by rule: `arrivals`, and lengths by `prompt` and `output`, a `mix` of them, or the pairs of a file,
    with `prefixes` that they share, or a `pool` of prompts, if given; or else `conversations`, `agents`,
    `rag` or `servegen`."""

    requests: int = Field(ge=1, le=100_000_000)
    arrivals: Arrivals | None = None
    prompt: Length | None = None
    output: Length | None = None
    mix: list[Share] | None = Field(default=None, min_length=1)
    lengths_from: str | None = Field(default=None, description="a file relative to the YAML")
    tokenizer: str | None = Field(default=None, description="of lengths_from, if that is text")
    prefixes: Prefixes | None = None
    pool: Pool | None = None
    conversations: Conversations | None = None
    agents: Agents | None = None
    rag: Rag | None = None
    servegen: ServeGen | None = None

    @model_validator(mode="after")
    def _one_way(self) -> "Generate":
        wholes = [key for key in ("conversations", "agents", "rag", "servegen") if getattr(self, key) is not None]
        given = [key for key in ("mix", "lengths_from") if getattr(self, key) is not None] + wholes
        if self.prompt or self.output:
            if not (self.prompt and self.output):
                raise ValueError(f"{'output' if self.prompt else 'prompt'} is missing beside its sister")
            given.append("prompt and output")
        if len(given) != 1:
            raise ValueError(
                "needs one of prompt and output, mix, lengths_from, conversations, agents, rag, servegen, "
                f"but got {' and '.join(given) or 'none'}"
            )
        if self.tokenizer is not None and self.lengths_from is None:
            raise ValueError("tokenizer is for the text of lengths_from")
        if self.pool is not None and (self.prefixes is not None or self.prompt is None):
            raise ValueError("a pool needs prompt and output, and takes no prefixes")
        for key in ("arrivals", "prefixes", "pool"):
            if wholes and getattr(self, key) is not None:
                raise ValueError(f"{wholes[0]} take{'' if wholes[0][-1] == 's' else 's'} no {key}")
        if self.arrivals is None and not wholes:
            raise ValueError("arrivals is missing")
        return self


class Workload(Spec):
    """A trace or a generator, and what `kvsim run` uses unless its options say otherwise."""

    about: str = ""
    trace: str | None = Field(default=None, description="a trace file, relative to the YAML")
    generate: Generate | None = None
    format: str | None = None
    map: dict[str, str] | None = None
    time_unit: str | None = None
    tokenizer: str | None = None
    block_tokens: int | None = Field(default=None, description="tokens of a block of the trace's ids")
    dither: str | None = None
    max_context: int | None = Field(default=None, ge=2, description="drop requests with more tokens")
    limit: int | None = Field(default=None, ge=1)
    loop: Literal["closed", "open"] | None = Field(default=None, description="of sessions")
    seed: int = Field(default=0, ge=0, lt=2**63)
    model: str | None = None
    hw: str | None = None
    policy: str | None = None
    serving: str | None = None
    replicas: int | None = Field(default=None, ge=1)
    set: dict[str, str | int | float | bool] = Field(default={})

    @model_validator(mode="after")
    def _one_source(self) -> "Workload":
        if (self.trace is None) == (self.generate is None):
            raise ValueError("needs either trace or generate")
        keys = ("format", "map", "time_unit", "tokenizer", "block_tokens")
        options = [key for key in keys if getattr(self, key) is not None]
        if self.generate and options:
            raise ValueError(f"{options[0]} is for a trace, not for generate")
        return self
