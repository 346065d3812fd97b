"""Names of fields as Google writes them: protocol buffers' JSON takes `snake_case` for `camelCase` at every level.

Source: the ProtoJSON format; some clients of Gemini send the one, some the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

_NAMES = (
    "systemInstruction", "toolConfig", "safetySettings", "cachedContent", "serviceTier", "continuationToken",
    "generationConfig", "modelArmorConfig", "outputConfig", "generateContentRequest",
    # generationConfig
    "topP", "topK", "candidateCount", "maxOutputTokens", "stopSequences", "responseLogprobs", "presencePenalty",
    "frequencyPenalty", "responseMimeType", "responseSchema", "responseJsonSchema", "responseModalities",
    "mediaResolution", "speechConfig", "thinkingConfig", "imageConfig", "audioTimestamp", "routingConfig", "modelConfig",
    "modelSelectionConfig", "enableEnhancedCivicAnswers", "audioTranscriptionConfig", "includeThoughts",
    "thinkingBudget", "thinkingLevel",
    # parts
    "inlineData", "fileData", "functionCall", "functionResponse", "executableCode", "codeExecutionResult", "toolCall",
    "toolResponse", "thoughtSignature", "videoMetadata", "partMetadata", "audioTranscription", "mediaProcessing",
    "speechMetadata", "documentMetadata", "spreadsheetMetadata", "audioMetadata", "mimeType", "fileUri", "displayName",
    "partialArgs", "willContinue",
    # tools
    "functionDeclarations", "parametersJsonSchema", "responseJsonSchema", "googleSearch", "googleSearchRetrieval",
    "googleMaps", "codeExecution", "urlContext", "fileSearch", "computerUse", "mcpServers", "enterpriseWebSearch",
    "parallelAiSearch", "exaAiSearch",
    "functionCallingConfig", "allowedFunctionNames", "retrievalConfig", "includeServerSideToolInvocations",
    "streamFunctionCallArguments",
    # schemas
    "additionalProperties", "anyOf", "oneOf", "allOf", "maxItems", "minItems", "maxLength", "minLength", "maxProperties",
    "minProperties", "prefixItems", "propertyOrdering",
)  # fmt: skip


def snake(name: str) -> str:
    """The other spelling of a name."""
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)


_CAMEL: Mapping[str, str] = MappingProxyType({snake(name): name for name in _NAMES})


def respell(value: Mapping[str, Any]) -> dict[str, Any]:
    """An object with Google's own spelling of its fields, without those that are null, which are as good as absent.

    Not for objects whose names are the client's: arguments, results, properties of a schema.
    """
    return {_CAMEL.get(name, name): given for name, given in value.items() if given is not None}


_URL_SAFE = str.maketrans("-_", "+/")


def respell_base64(text: str) -> str:
    """Base64 in the ordinary alphabet: Google's SDKs write the URL-safe one, which other vendors refuse."""
    return text.translate(_URL_SAFE) if "-" in text or "_" in text else text
