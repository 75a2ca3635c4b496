"""The parameters of the running stage, exactly as dvc.yaml declares them, each section checked by its model."""

import os
from functools import cache
from typing import Annotated, Any, TypeVar, overload

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from clipstore.core.errors import InputError

# No hyphen: DVC joins the values of a matrix by "-" and silently drops one of two cells of the same joined name.
Slug = Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]
Names = tuple[Slug, ...]
Md5 = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Url = Annotated[str, Field(pattern=r"^https?://\S+$")]


class Section(BaseModel):
    """One section or table entry of params.yaml: unknown keys are errors, values never change."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


Checked = TypeVar("Checked")


@cache  # resolving dvc.yaml takes a good part of a second, and some stages read two sections
def load() -> dict[str, Any]:
    """Return the entries of params.yaml that this stage lists under ``params``.

    DVC names the running stage in ``DVC_STAGE``; an entry that the stage does not list is absent, so a stage cannot depend on a
    value that DVC does not track. PyYAML would read ``1e-05``, which is how ``dvc exp run -S`` stores 0.00001, as a string.

    Raises:
        InputError: the module was started without DVC.
    """
    if "DVC_STAGE" not in os.environ:
        raise InputError("stages are run by DVC: `dvc repro -s STAGE`, for example `dvc repro -s knn@garden_clip-garden`")
    import dvc.api

    declared: dict[str, Any] = dvc.api.params_show(stages=os.environ["DVC_STAGE"])
    return declared


@overload
def check(kind: type[Checked], value: object, where: str = "") -> Checked: ...
@overload
def check(kind: object, value: object, where: str = "") -> Any: ...
def check(kind: Any, value: object, where: str = "") -> Any:
    """Return ``value``, the key ``where`` of params.yaml ("" for the whole file), validated as a ``kind``.

    Raises:
        InputError: one line for each wrong value, naming the key, the value and what was expected.
    """
    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        details = error.errors()
        # pydantic reports a list whose items are all wrong as too short as well.
        inner = {detail["loc"][:-1] for detail in details if detail["loc"]}
        kept = [detail for detail in details if detail["type"] != "too_short" or detail["loc"] not in inner]
        raise InputError("\n".join(_line(value, where, detail) for detail in kept)) from None


def _line(value: Any, where: str, detail: Any) -> str:
    missing = detail["type"] == "missing"
    keys = [where] if where else []
    for position, part in enumerate(detail["loc"], 1):
        try:
            value = value[part]
        except (LookupError, TypeError):
            if not missing or position < len(detail["loc"]):
                continue  # not a key of params.yaml but one of pydantic's: the tag of a union, "[key]"
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
        InputError: a value is of the wrong type or out of its range.
    """
    value: Any = load()
    for key in name.split("."):
        value = value[key]
    return check(kind, value, name)
