"""A study YAML: what all runs share, and the lists of values that they differ in."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from kvsim.specs.load import Count, Seconds, Spec

Value = str | int | float | bool
MOST_POINTS = 100_000


class Options(Spec):
    """Options of one run, named as those of `kvsim run`; what is left out has its default there.

    Paths are relative to the study's file.
    """

    trace: str = Field(min_length=1)
    hw: str | None = None
    model: str | None = None
    policy: str | None = None
    serving: str | None = None
    set: dict[str, Value] = Field(default={})
    replicas: Count | None = None
    tp: Count | None = None
    fidelity: Literal["ideal", "published"] = "ideal"
    seed: int | None = Field(default=None, ge=0, lt=2**62)
    limit: Count | None = None
    until: Seconds | None = None
    warmup: Seconds | None = None
    format: str | None = None
    map: dict[str, str] | None = None
    time_unit: str | None = None
    dither: str | None = None
    tokenizer: str | None = None
    block_tokens: Count | None = None
    max_context: int | None = Field(default=None, ge=2)
    loop: Literal["closed", "open"] | None = None
    concurrency: Count | None = None
    max_gap: Seconds | None = None
    sessions_per_s: float | None = Field(default=None, gt=0)
    reuse: Literal["outputs", "prompts"] | None = None
    exact: bool = False
    check: bool = False


SETTING = "set."
NO_AXES = ("set", "map")


class Study(Spec):
    """`base`: options of every point. `axes`: options, or `set.KEY` of them, each with a list of values.

    `combine`: every combination of the axes' values, the last axis fastest (product), or the first values of all, then
    the second (zip). `repeat`: each with this many seeds, from the point's own on.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][\w.-]{0,99}$", description="also that of the results' folder")
    about: str = ""
    base: dict[str, Any] = Field(default={})
    combine: Literal["product", "zip"] = "product"
    axes: dict[str, Annotated[list[Value], Field(min_length=1)]] = Field(default={})
    repeat: int = Field(default=1, ge=1, le=MOST_POINTS)

    @field_validator("axes")
    @classmethod
    def _distinct(cls, axes: dict[str, list[Value]], info: Any) -> dict[str, list[Value]]:
        for key, values in axes.items():
            if not key.startswith(SETTING) and (key not in Options.model_fields or key in NO_AXES):
                known = ", ".join(name for name in Options.model_fields if name not in NO_AXES)
                raise ValueError(f"{key!r} is no option that can vary; there are: {known}, {SETTING}KEY")
            if key == SETTING:
                raise ValueError(f"{SETTING} lacks the setting's name")
            if len({repr(value) for value in values}) < len(values) and info.data.get("combine") != "zip":
                raise ValueError(f"{key}: a value is listed twice")
        return axes

    @model_validator(mode="after")
    def _whole(self) -> "Study":
        for key in self.axes:
            shared = self.base.get("set", {}) if key.startswith(SETTING) else self.base
            if isinstance(shared, dict) and key.removeprefix(SETTING) in shared:
                raise ValueError(f"{key} is both in base and an axis")
        if self.repeat > 1 and "seed" in self.axes:
            raise ValueError("repeat makes seeds, so that seed can be no axis beside it")
        lengths = {key: len(values) for key, values in self.axes.items()}
        if self.combine == "zip" and len(set(lengths.values())) > 1:
            shown = ", ".join(f"{key} has {many}" for key, many in lengths.items())
            raise ValueError(f"axes of a zip must have equally many values, but {shown}")
        return self
