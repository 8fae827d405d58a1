"""A workload YAML: a trace file or a generator, and the model, hardware and policy that it is meant for."""

from typing import Literal

from pydantic import Field, model_validator

from kvsim.specs.load import Spec
from kvsim.traces.trace import MAX_TOKENS

Process = Literal["poisson", "gamma", "constant", "trace"]


class Arrivals(Spec):
    """When requests arrive: gaps exponential (poisson), gamma with a `cv`, or equal; or the moments of a trace file."""

    process: Process = "poisson"
    rate_per_s: float | None = Field(default=None, ge=1e-9, le=1e6, description="requests per second")
    cv: float | None = Field(
        default=None, ge=1e-3, le=100, description="gamma: standard deviation of the gaps over mean"
    )
    trace: str | None = Field(default=None, description="trace: the file, relative to the YAML")

    @model_validator(mode="after")
    def _complete(self) -> "Arrivals":
        needs = {"gamma": {"rate_per_s", "cv"}, "trace": {"trace"}}.get(self.process, {"rate_per_s"})
        for key in ("rate_per_s", "cv", "trace"):
            given = getattr(self, key) is not None
            if given != (key in needs):
                raise ValueError(f"process {self.process} {'takes no' if given else 'needs'} {key}")
        return self


class Length(Spec):
    """How many tokens: always `tokens`, or lognormal with `mean` and `cv` (or `sigma` of the logarithm).

    Lognormal draws are rounded and clipped to 1..max; mean and cv are those before clipping.
    """

    tokens: int | None = Field(default=None, ge=1, le=MAX_TOKENS)
    mean: float | None = Field(default=None, gt=0, le=MAX_TOKENS)
    cv: float | None = Field(default=None, ge=0, le=100)
    sigma: float | None = Field(default=None, ge=0, le=10)
    max: int = Field(default=MAX_TOKENS, ge=1, le=MAX_TOKENS)

    @model_validator(mode="after")
    def _one_kind(self) -> "Length":
        if (self.tokens is None) == (self.mean is None):
            raise ValueError("needs either tokens (fixed) or mean (lognormal)")
        if self.mean is not None and (self.cv is None) == (self.sigma is None):
            raise ValueError("a lognormal length needs either cv or sigma")
        if self.tokens is not None and not (self.cv is self.sigma is None):
            raise ValueError("a fixed length takes no cv or sigma")
        return self


class Share(Spec):
    """One kind of request in a mix: its weight among all, its prompts and outputs."""

    weight: float = Field(gt=0, le=1e9)
    prompt: Length
    output: Length


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
    """Requests made by rule: `arrivals`, and lengths by `prompt` and `output`, a `mix` of them, or the pairs of a file;
    or else `conversations`."""

    requests: int = Field(ge=1, le=100_000_000)
    arrivals: Arrivals | None = None
    prompt: Length | None = None
    output: Length | None = None
    mix: list[Share] | None = Field(default=None, min_length=1)
    lengths_from: str | None = Field(default=None, description="a file relative to the YAML")
    tokenizer: str | None = Field(default=None, description="of lengths_from, if that is text")
    conversations: Conversations | None = None

    @model_validator(mode="after")
    def _one_way(self) -> "Generate":
        given = [key for key in ("mix", "lengths_from", "conversations") if getattr(self, key) is not None]
        if self.prompt or self.output:
            if not (self.prompt and self.output):
                raise ValueError(f"{'output' if self.prompt else 'prompt'} is missing beside its sister")
            given.append("prompt and output")
        if len(given) != 1:
            raise ValueError(
                "needs one of prompt and output, mix, lengths_from, conversations, "
                f"but got {' and '.join(given) or 'none'}"
            )
        if self.tokenizer is not None and self.lengths_from is None:
            raise ValueError("tokenizer is for the text of lengths_from")
        if (self.arrivals is None) != (self.conversations is not None):
            raise ValueError("arrivals is missing" if not self.conversations else "conversations take no arrivals")
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
