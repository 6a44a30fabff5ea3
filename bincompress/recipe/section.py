"""What every section of a recipe is made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

PositiveFloat = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    """Base of all sections: immutable, and a misspelt key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class NameIn:
    """Annotation of a `str` field: one of the names that a registry has by the time a recipe is read.

    Errors and JSON Schema are those of a `Literal` of the same names.
    """

    def __init__(self, registry: Mapping[str, object]) -> None:
        self._registry = registry

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, core_schema.str_schema(strict=True))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"enum": list(self._registry), "type": "string"}

    def _check(self, name: str) -> str:
        if name not in self._registry:
            known = ", ".join(f"'{known}'" for known in self._registry)
            raise PydanticCustomError("literal_error", "Input should be {expected}", {"expected": known})
        return name
