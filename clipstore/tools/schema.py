"""Write params.schema.json, from which editors complete, check and explain params.yaml: python -m clipstore.tools.schema."""

import importlib
import json
from pathlib import Path
from typing import Any

from pydantic.json_schema import GenerateJsonSchema

SCHEMA = Path("params.schema.json")
BOUNDS = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}


class EditorSchema(GenerateJsonSchema):
    """JSON schema for editors: fields have no titles, which would repeat their names, and tables accept only slugs as keys."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        """Return False."""
        return False

    def dict_schema(self, schema: Any) -> dict[str, Any]:
        """Return the schema of a dictionary; one whose keys have a pattern accepts no other keys."""
        document = super().dict_schema(schema)
        return document | {"additionalProperties": False} if "patternProperties" in document else document


def explained(field: dict[str, Any], model: dict[str, Any]) -> dict[str, Any]:
    """Return a field's schema with range and default added to its description: editors show the description alone.

    A field with a single possible value, such as ``kind``, takes the description of its model.
    """
    if "const" in field:
        return field | {"description": model["description"]}
    if "description" not in field:  # a reference to a model, which has one
        return field
    sentences = [field["description"]]
    for schema, subject in ((field, ""), (field.get("items", {}), "each ")):
        bounds = " and ".join(f"{words} {schema[key]:g}" for key, words in BOUNDS.items() if key in schema)
        sentences += [f"{subject}{bounds}.".capitalize()] if bounds else []
    if "default" in field:
        value = field["default"]
        sentences.append("Optional." if value in (None, {}, []) else f"Default: {json.dumps(value)}.")
    return field | {"description": " ".join(sentences)}


def schema() -> dict[str, Any]:
    """Return the JSON schema of params.yaml, generated from the models that validate it."""
    whole = importlib.import_module("stages.validate").whole()  # by name: rooms do not depend on stages
    document: dict[str, Any] = whole.model_json_schema(schema_generator=EditorSchema)
    for model in (document, *document["$defs"].values()):
        if "properties" in model:
            model["properties"] = {name: explained(field, model) for name, field in model["properties"].items()}
    return {"$schema": EditorSchema.schema_dialect} | document


def text() -> str:
    """Return the content of params.schema.json; docstrings' double backquotes become Markdown's single ones."""
    return json.dumps(schema(), indent=2, ensure_ascii=False).replace("``", "`") + "\n"


if __name__ == "__main__":
    SCHEMA.write_text(text(), encoding="utf-8")
