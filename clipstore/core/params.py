"""The parameters that dvc.yaml declares for the running stage, each section validated by its model."""

import os
from functools import cache
from typing import Annotated, Any, Literal, TypeVar, overload

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from clipstore.core.errors import InputError

# No hyphen: DVC joins matrix values with "-", and if two cells get the same joined name, it silently drops one.
Slug = Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]
Names = tuple[Slug, ...]
Exif = Literal["apply", "ignore"]  # what happens to the EXIF orientation of images
TABLES = ("datasets", "prompts", "encoders", "nets")  # whose keys are names that axes use
Name = Annotated[str, Field(pattern=r"\S")]
Md5 = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Url = Annotated[str, Field(pattern=r"^https?://\S+$")]


class Section(BaseModel):
    """One section or table entry of params.yaml: unknown keys are errors, and instances are immutable."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


Checked = TypeVar("Checked")


@cache  # resolving dvc.yaml takes most of a second, and some stages read two sections
def load() -> dict[str, Any]:
    """Return the entries of params.yaml that this stage lists under ``params``.

    DVC names the running stage in ``DVC_STAGE``. Entries that the stage does not list are absent, so that no stage depends on a value
    that DVC does not track. DVC reads the file because PyYAML would read ``1e-05``, which is how ``dvc exp run -S`` stores 0.00001, as a
    string.

    Raises:
        InputError: the stage was started without DVC.
    """
    if "DVC_STAGE" not in os.environ:
        raise InputError("DVC_STAGE is not set: run stages with `dvc repro -s STAGE`, for example `dvc repro -s knn@garden_clip-garden`")
    import dvc.api

    declared: dict[str, Any] = dvc.api.params_show(stages=os.environ["DVC_STAGE"])
    return declared


def check_names(values: dict[str, Any]) -> None:
    """Check that the names in the tables and axes of params.yaml are text: YAML reads 2024 as a number, and DVC cannot sort both.

    Raises:
        InputError: a name is a number, a date, true or null.
    """

    tables = {table: list(entries) for table in TABLES if isinstance(entries := values.get(table), dict)}
    axes = values.get("axes")
    if isinstance(axes, dict):
        tables |= {f"axes.{axis}": names for axis, names in axes.items() if isinstance(names, list)}
    for where, names in tables.items():
        for name in names:
            if not isinstance(name, str):
                raise InputError(f"params.yaml: {where}: the name {name!r} is not text for YAML; put it in quotes: {str(name)!r}")


@overload
def check(kind: type[Checked], value: object, where: str = "") -> Checked: ...
@overload
def check(kind: object, value: object, where: str = "") -> Any: ...
def check(kind: Any, value: object, where: str = "") -> Any:
    """Validate ``value``, found under the key ``where`` of params.yaml ("" for the whole file), as a ``kind`` and return it.

    Raises:
        InputError: one line per wrong value, with the key, the value and what was expected.
    """
    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        details = error.errors()
        # If all items of a list are wrong, pydantic also reports the list as too short.
        with_wrong_items = {detail["loc"][:-1] for detail in details if detail["loc"]}
        reported = [detail for detail in details if detail["type"] != "too_short" or detail["loc"] not in with_wrong_items]
        raise InputError("\n".join(_line(value, where, detail) for detail in reported)) from None


def _line(value: Any, where: str, detail: Any) -> str:
    missing = detail["type"] == "missing"
    keys = [where] if where else []
    for position, part in enumerate(detail["loc"], 1):
        try:
            value = value[part]
        except (LookupError, TypeError):
            if not missing or position < len(detail["loc"]):
                continue  # a part that pydantic inserted, such as the tag of a union or "[key]", not a key of params.yaml
        keys.append(str(part))
    key = ".".join(keys)
    if missing:
        return f"params.yaml: {key} is missing"
    expected = detail["msg"].removeprefix("Value error, ")
    found = "" if isinstance(detail["input"], dict) else f" = {detail['input']!r}"
    return f"params.yaml: {key}{found}: {expected[0].lower()}{expected[1:]}"


@overload
def section(kind: type[Checked], name: str) -> Checked: ...
@overload
def section(kind: object, name: str) -> Any: ...
def section(kind: Any, name: str) -> Any:
    """Return the section ``name`` of params.yaml, or the entry ``table.name``, as the running stage declares it.

    Raises:
        InputError: a value has the wrong type or is out of range.
    """
    value: Any = load()
    for key in name.split("."):
        value = value[key]
    return check(kind, value, name)
