"""Tools of a client's request, and which of them may be called, read into the canonical ones."""

from __future__ import annotations

from typing import Any

from app.core.conversation import Tool, ToolChoice
from app.formats.fields import cannot_carry, unknown_field
from app.formats.gemini_generate.fields import DENIED, LEFT_OUT, TITLE
from app.formats.gemini_generate.read_contents import OTHERS, as_list, check_names
from app.formats.gemini_generate.schema import read_schema
from app.formats.gemini_generate.spelling import respell
from app.formats.values import as_array, as_object, as_string, find_string, take_string, wrong_value

MODES = {"AUTO": "auto", "ANY": "required", "NONE": "none", "VALIDATED": "auto", "MODE_UNSPECIFIED": "auto"}
DECLARATIONS = "tools[].functionDeclarations[]"
OF_DECLARATION = (
    "name", "description", "parameters", "parametersJsonSchema", "response", "responseJsonSchema", "behavior",
)  # fmt: skip
RESULTS = ("response", "responseJsonSchema")


def read_tools(value: object, left_out: list[str]) -> tuple[Tool, ...]:
    """Raises GatewayError 400 naming a tool of Google's own, which runs at Google alone."""
    tools: list[Tool] = []
    for number, entry in enumerate(as_list(value, "tools")):
        path = f"tools[{number}]"
        for name, given in respell(as_object(entry, path)).items():
            where = f"{path}.{name}"
            if name == "functionDeclarations":
                declared = as_list(given, where)
                tools += [_read_declaration(tool, f"{where}[{n}]", left_out) for n, tool in enumerate(declared)]
            elif (field := f"tools[].{name}") in DENIED:
                raise cannot_carry(where, OTHERS, DENIED[field])
            else:
                raise unknown_field(where, TITLE)
    return tuple(tools)


def _read_declaration(value: object, path: str, left_out: list[str]) -> Tool:
    given = respell(as_object(value, path))
    check_names(given, OF_DECLARATION, path)
    left_out += [f"{path}.{name}" for name in RESULTS if name in given]
    behavior = find_string(given, "behavior", path)
    if behavior not in (None, "BLOCKING", "UNSPECIFIED"):
        raise cannot_carry(f"{path}.behavior", OTHERS, DENIED[f"{DECLARATIONS}.behavior"])
    schema: dict[str, Any] | None = None
    if "parametersJsonSchema" in given:
        schema = as_object(given["parametersJsonSchema"], f"{path}.parametersJsonSchema")
    elif "parameters" in given:
        schema = read_schema(given["parameters"], f"{path}.parameters")
    return Tool(take_string(given, "name", path), find_string(given, "description", path), schema)


def read_tool_config(value: object, left_out: list[str]) -> tuple[ToolChoice | None, bool]:
    """Which tools may be called, and whether all are strict (mode VALIDATED)."""
    config = respell(as_object(value, "toolConfig"))
    choice: ToolChoice | None = None
    strict = False
    for name, given in config.items():
        path = f"toolConfig.{name}"
        if name == "functionCallingConfig":
            choice, strict = _read_calling(respell(as_object(given, path)), path, left_out)
        elif path in LEFT_OUT:
            left_out.append(path)
        else:
            raise unknown_field(path, TITLE)
    return choice, strict


def _read_calling(config: dict[str, Any], path: str, left_out: list[str]) -> tuple[ToolChoice | None, bool]:
    check_names(config, ("mode", "allowedFunctionNames", "streamFunctionCallArguments"), path)
    if config.get("streamFunctionCallArguments"):
        left_out.append(f"{path}.streamFunctionCallArguments")
    mode = (find_string(config, "mode", path) or "AUTO").upper()
    if mode not in MODES:
        raise wrong_value(f"{path}.mode", "AUTO, ANY, NONE or VALIDATED")
    where = f"{path}.allowedFunctionNames"
    allowed = as_array(config.get("allowedFunctionNames", []), where)
    names = tuple(as_string(name, f"{where}[{number}]") for number, name in enumerate(allowed))
    strict = mode == "VALIDATED"
    match MODES[mode]:
        case "none":
            return ToolChoice("none"), strict
        case "required":
            return ToolChoice("required", names), strict
        case _:
            return (ToolChoice("auto", names) if names else None), strict
