"""Settings declared once: sections of options, each with its default, its meaning and its bounds. pydantic reads and checks them."""

import os
import re
from dataclasses import dataclass
from types import NoneType
from typing import Annotated, Any, Literal, NoReturn, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails, PydanticKnownError

from rollout.io.credentials import redacted, refuse_credentials
from rollout.io.errors import InputError

LONGEST_TEXT = 4096  # characters, as of a path
MOST = 1024  # that a range may reach: each has a place that waits


@dataclass(frozen=True)
class Count:
    """How many of something: a number, or of a range as many as there is room for."""

    low: int
    high: int

    @classmethod
    def read(cls, given: Any) -> "Count":
        """Of 4, "4" or "2..16"."""
        if isinstance(given, cls):
            return given
        found = re.fullmatch(r"(\d+)(?:\.\.(\d+))?", str(given).strip(), re.ASCII)
        if not found:
            raise PydanticKnownError("string_type")
        low, high = int(found[1]), int(found[2] or found[1])
        if not low:
            raise PydanticKnownError("greater_than_equal", {"ge": 1})
        if high < low or (low < high and high > MOST):
            raise PydanticKnownError("string_type")
        return cls(low, high)

    @property
    def fixed(self) -> bool:
        return self.low == self.high

    @property
    def plain(self) -> int | str:
        """As YAML and JSON have it."""
        return self.low if self.fixed else f"{self.low}..{self.high}"

    def __str__(self) -> str:
        return str(self.plain)


WORDS = {
    bool: ("BOOL", "true or false"), int: ("INT", "a whole number"), float: ("NUMBER", "a number"), str: ("TEXT", "text"),
    Count: ("INT|LOW..HIGH", f"a whole number, or a range such as 2..16 of at most {MOST}"),
}  # fmt: skip
BOUNDS = {
    "greater_than": "a number above {gt:g}", "greater_than_equal": "at least {ge:g}", "less_than": "a number below {lt:g}",
    "finite_number": "a finite number", "string_too_short": "text that is not empty", "string_too_long": "at most {max_length} characters",
}  # fmt: skip


def absolute(text: str) -> str:
    """A path as every process of a run means it, whatever folder it works in; an address stays as it is."""
    return text if "://" in text else os.path.abspath(os.path.expanduser(text))


def _folder_or_name(text: str) -> str:
    return absolute(text) if text.startswith((".", "/", "~")) or os.path.exists(text) else text


FilePath = Annotated[str, AfterValidator(absolute)]  # file, folder, or address
Counted = Annotated[Count, BeforeValidator(Count.read), PlainSerializer(lambda count: count.plain)]
HubName = Annotated[str, AfterValidator(_folder_or_name)]  # folder, or name of a model in the hub's cache


def option(
    default: Any, text: str, minimum: float | None = None, above: float | None = None, below: float | None = None, flags: tuple[str, ...] = (), **more
) -> Any:  # fmt: skip
    """A setting: its help text, the open or closed bounds a value must respect, and further names of its flag."""
    return Field(default, description=text, ge=minimum, gt=above, lt=below, json_schema_extra={"flags": list(flags)}, **more)


def refuse(key: str, found: Any, expected: str) -> NoReturn:
    raise InputError(f"{key}: found {found!r}, expected {expected}")


class Section(BaseModel):
    """Settings that belong together, frozen. Building one checks every value, given as Python has it or as the text of a flag, and
    raises InputError for the first that is wrong."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, coerce_numbers_to_str=True, str_min_length=1, str_max_length=LONGEST_TEXT
    )

    def __init__(self, **given):
        try:
            super().__init__(**given)
        except ValidationError as error:
            raise InputError(_said(type(self), error.errors()[0])) from None

    def check(self) -> None:
        """Raises InputError for settings that do not go together."""

    def check_beside(self, config: "Section") -> None:
        """As `check`, of the rest of the whole `config`."""

    def replace(self, **changes):
        """The same with some settings changed, and checked."""
        return type(self)(**{**dict(self), **changes})

    def to_dict(self) -> dict[str, Any]:
        """Nested plain dicts and lists, as YAML and JSON want them."""
        return self.model_dump(mode="json")

    @field_validator("*", mode="wrap")
    @classmethod
    def _read(cls, value, handler, info):
        """What a flag or YAML leaves open: the text null is None and a,b a list; what is true, or 1.0, is no whole number."""
        kind = cls.model_fields[info.field_name].annotation
        kinds, text = {kind, *get_args(kind)}, value.strip() if isinstance(value, str) else None
        if isinstance(value, (bytes, set)) or (isinstance(value, (bool, float)) and kinds & {int, float} and type(value) not in kinds):
            raise PydanticKnownError("string_type")
        if NoneType in kinds and text is not None and text.lower() in ("null", "none"):
            return None
        if get_origin(kind) is tuple and text is not None:
            value = [item.strip() for item in text.strip("[] ").split(",")]
        found = handler(value)
        if type(found) is int and abs(found) >= 2**63:  # which no store holds
            raise PydanticKnownError("less_than", {"lt": 2**63})
        return found

    @model_validator(mode="after")
    def _check(self):
        for name, value in self:
            refuse_credentials(name, value)
        self.check()
        return self


def wanted(kind: Any) -> tuple[str, str]:
    """What a value of an annotation looks like: a placeholder for `--help`, and words for a message."""
    if NoneType in get_args(kind) or get_origin(kind) is Annotated:
        return wanted(get_args(kind)[0])
    if get_origin(kind) is Literal:
        return "{" + ",".join(get_args(kind)) + "}", "one of " + ", ".join(get_args(kind))
    if get_origin(kind) is tuple and wanted(get_args(kind)[0]) == WORDS[int]:
        return "INT,INT", "a list of whole numbers"
    return WORDS.get(kind, ("A,B", "a list of names"))


def _said(section: type[Section], error: ErrorDetails) -> str:
    """pydantic's first error as our line: key, what was found, what was expected."""
    name, found = ".".join(map(str, error["loc"][:1])), error["input"]
    if error["type"] == "value_error":  # of a section inside, whose line begins with its own key, or of a check of this one
        words = str(error["ctx"]["error"])
        return words if not name or words.startswith(f"{name}.") else f"{name}.{words}"
    if error["type"] == "extra_forbidden":
        return f"{name}: unknown setting, expected one of {', '.join(section.model_fields)}"
    if error["type"] in BOUNDS:
        expected = BOUNDS[error["type"]].format(**error.get("ctx", {}))
        return f"{name}: found {found if str(found).strip() else repr(found)}, expected {expected}"
    return f"{name}: found {redacted(repr(found))}, expected {wanted(section.model_fields[name].annotation)[1]}"
