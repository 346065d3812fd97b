"""What becomes of each field of a generateContent request in other formats, and of what other formats ask of this one.

Source of the names: Google's API reference, and `types.py` and the `*_to_mldev` converters of google-genai's `models.py`;
fields of Vertex AI alone are listed too, since its clients send them to the same paths.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from app.formats.fields import ATTRIBUTES, MAPPED, Fate, Field, Verdict, dropped, mapped, refused

NAME = "gemini_generate"
TITLE = "Google's generateContent"

_OWN_TOOL = refused("Google's own tools run at Google")
_OWN_NOTES = dropped("working notes of tools that run at Google")
_HINT = dropped("how the medium is read is up to the model")

FIELDS: tuple[Field, ...] = (
    Field("model", "model"),
    Field("contents", "messages"),
    Field("systemInstruction", "system"),
    Field("tools[].functionDeclarations", "tools"),
    Field("tools[].functionDeclarations[].parameters", "tools"),
    Field("tools[].functionDeclarations[].parametersJsonSchema", "tools"),
    Field("tools[].functionDeclarations[].response", None, dropped("tools' results have no schema")),
    Field("tools[].functionDeclarations[].responseJsonSchema", None, dropped("tools' results have no schema")),
    Field("tools[].functionDeclarations[].behavior", None, refused("but for BLOCKING, the default")),
    Field("tools[].googleSearch", None, _OWN_TOOL),
    Field("tools[].googleSearchRetrieval", None, _OWN_TOOL),
    Field("tools[].googleMaps", None, _OWN_TOOL),
    Field("tools[].codeExecution", None, _OWN_TOOL),
    Field("tools[].urlContext", None, _OWN_TOOL),
    Field("tools[].fileSearch", None, _OWN_TOOL),
    Field("tools[].computerUse", None, _OWN_TOOL),
    Field("tools[].mcpServers", None, _OWN_TOOL),
    Field("tools[].retrieval", None, _OWN_TOOL),
    Field("tools[].enterpriseWebSearch", None, _OWN_TOOL),
    Field("tools[].parallelAiSearch", None, _OWN_TOOL),
    Field("tools[].exaAiSearch", None, _OWN_TOOL),
    Field("toolConfig.functionCallingConfig.mode", "tool_choice"),
    Field("toolConfig.functionCallingConfig.mode: VALIDATED", "tool_strict"),
    Field("toolConfig.functionCallingConfig.allowedFunctionNames", "tool_choice_names"),
    Field("toolConfig.functionCallingConfig.streamFunctionCallArguments", None, dropped("arguments stream anyway")),
    Field("toolConfig.retrievalConfig", None, dropped("for Google's own tools alone")),
    Field("toolConfig.includeServerSideToolInvocations", None, dropped("for Google's own tools alone")),
    Field("safetySettings", None, dropped("the upstream's own filter decides")),
    Field("cachedContent", None, refused("it is kept at Google")),
    Field("labels", None, dropped("they are for Google's bill")),
    Field("serviceTier", "service_tier"),
    Field("store", None, dropped("it is about Google's logs")),
    Field("continuationToken", None, refused("the answer so far is kept at Google")),
    Field("modelArmorConfig", None, refused()),
    Field("outputConfig", None, refused()),
    Field("generationConfig.temperature", "temperature"),
    Field("generationConfig.topP", "top_p"),
    Field("generationConfig.topK", "top_k"),
    Field("generationConfig.candidateCount", "choices"),
    Field("generationConfig.maxOutputTokens", "output_cap"),
    Field("generationConfig.stopSequences", "stop"),
    Field("generationConfig.presencePenalty", "presence_penalty"),
    Field("generationConfig.frequencyPenalty", "frequency_penalty"),
    Field("generationConfig.seed", "seed"),
    Field("generationConfig.responseLogprobs", "logprobs"),
    Field("generationConfig.logprobs", "top_logprobs"),
    Field("generationConfig.responseMimeType", "json_object"),
    Field("generationConfig.responseSchema", "json_schema"),
    Field("generationConfig.responseJsonSchema", "json_schema"),
    Field("generationConfig.responseModalities", "modalities"),
    Field("generationConfig.thinkingConfig", "reasoning"),
    Field("generationConfig.mediaResolution", None, _HINT),
    Field("generationConfig.speechConfig", None, refused()),
    Field("generationConfig.imageConfig", None, refused()),
    Field("generationConfig.audioTimestamp", None, dropped()),
    Field("generationConfig.audioTranscriptionConfig", None, refused()),
    Field("generationConfig.enableEnhancedCivicAnswers", None, dropped()),
    Field("generationConfig.routingConfig", None, dropped("the gateway chooses the model")),
    Field("generationConfig.modelConfig", None, dropped("the gateway chooses the model")),
    Field("generationConfig.modelSelectionConfig", None, dropped("the gateway chooses the model")),
    Field("contents[].parts[].text", "text"),
    Field("contents[].parts[].inlineData: image/*", "image"),
    Field("contents[].parts[].inlineData: audio/*", "audio"),
    Field("contents[].parts[].inlineData: application/pdf, text/*", "file"),
    Field("contents[].parts[].inlineData: video/*", None, refused()),
    Field("contents[].parts[].fileData: image/*", "image_url"),
    Field("contents[].parts[].fileData: audio/*", "audio_url"),
    Field("contents[].parts[].fileData: application/pdf, text/*", "file_url"),
    Field("contents[].parts[].fileData: video/*", None, refused()),
    Field("contents[].parts[].fileData of Google's Files API or Cloud Storage", "file_id"),
    Field("contents[].parts[].thought", "thinking"),
    Field("contents[].parts[].thoughtSignature", "thinking"),
    Field("contents[].parts[].functionCall", "tool_call"),
    Field("contents[].parts[].functionResponse", "tool_result"),
    Field("contents[].parts[].functionResponse.response.error", "tool_result_error"),
    Field("contents[].parts[].functionResponse.parts", "tool_result_media"),
    Field("contents[].parts[].functionResponse.scheduling", None, refused("functions are called one after the other")),
    Field("contents[].parts[].functionResponse.willContinue", None, refused("functions are called one after the other")),
    Field("contents[].parts[].executableCode", None, _OWN_NOTES),
    Field("contents[].parts[].codeExecutionResult", None, _OWN_NOTES),
    Field("contents[].parts[].toolCall", None, _OWN_NOTES),
    Field("contents[].parts[].toolResponse", None, _OWN_NOTES),
    Field("contents[].parts[].videoMetadata", None, refused()),
    Field("contents[].parts[].mediaResolution", None, _HINT),
    Field("contents[].parts[].mediaProcessing", None, _HINT),
    Field("contents[].parts[].documentMetadata", None, _HINT),
    Field("contents[].parts[].spreadsheetMetadata", None, _HINT),
    Field("contents[].parts[].audioMetadata", None, _HINT),
    Field("contents[].parts[].speechMetadata", None, dropped()),
    Field("contents[].parts[].audioTranscription", None, dropped()),
    Field("contents[].parts[].partMetadata", None, dropped()),
)  # fmt: skip

_CHANGED: Mapping[str, Fate] = {
    "stream": mapped("by the method's name"),
    "system_midway": mapped("in the user's turn"),
    "system": mapped("as `systemInstruction`"),
    "parallel_tool_calls": refused("it can't be kept from calling several tools at once"),
    "tool_strict": mapped("as mode VALIDATED, for all tools; where a call is forced, schemas are heeded anyway"),
    "tool_choice_names": mapped("as `allowedFunctionNames`; beside mode auto that makes all tools strict"),
    "tool_custom": refused("its tools take JSON"),
    "tool_result": mapped("what is no JSON object is told as `output`"),
    "tool_result_error": mapped("as `error`"),
    "tool_result_media": mapped("as `functionResponse.parts`"),
    "output_cap": mapped("thinking counts towards it"),
    "logprobs": mapped("some models refuse it"),
    "top_logprobs": mapped("some models refuse it"),
    "choices": mapped("some models refuse it"),
    "reasoning": mapped(
        "an effort as `thinkingLevel`, max as XHIGH; none, and the model's own choice, as `thinkingBudget`; "
        "thoughts come as summaries"
    ),
    "service_tier": mapped("default, flex, priority and fast; others are dropped"),
    "modalities": mapped("text, image and audio"),
    "json_schema": mapped("its name, description and `strict` are left out: it is always enforced"),
    "verbosity": dropped(),
    "user": dropped(),
    "metadata": dropped("`labels` are for Google's bill"),
    "cache": dropped("it caches by itself"),
    "cache_key": dropped("it caches by itself"),
    "cache_point": dropped("it caches by itself"),
    "name": dropped(),
    "image_detail": dropped(),
    "image_url": mapped("Google fetches it"),
    "audio_url": mapped("Google fetches it"),
    "file": mapped("its name is left out"),
    "file_url": mapped("Google fetches it"),
    "file_id": refused("it lives at another vendor"),
    "thinking": mapped(
        "with Google's own signature, or with none; another vendor's is of no use here, and dropped. A call that no "
        "Gemini model made is marked as such"
    ),
    "refusal": mapped("as text"),
    "citations": dropped("of earlier answers; in answers, grounding and citations keep their addresses"),
}  # fmt: skip

CARRIES: Mapping[str, Fate] = MappingProxyType({name: _CHANGED.get(name, MAPPED) for name in ATTRIBUTES})

_FATES: Mapping[str, Fate] = {field.name: field.fate for field in FIELDS if field.fate is not None}

DENIED: Mapping[str, str] = MappingProxyType(
    {name: fate.note for name, fate in _FATES.items() if fate.verdict is Verdict.REFUSED}
)
LEFT_OUT = frozenset(name for name, fate in _FATES.items() if fate.verdict is Verdict.DROPPED)
"""Fields that no other format has: those that are refused, with the reason, and the advisory ones."""

CLIENT_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "messages": "contents",
        "system": "systemInstruction",
        "tools": "tools[].functionDeclarations",
        "tool_choice": "toolConfig.functionCallingConfig",
        "tool_choice_names": "toolConfig.functionCallingConfig.allowedFunctionNames",
        "tool_strict": "toolConfig.functionCallingConfig.mode",
        "service_tier": "serviceTier",
        "temperature": "generationConfig.temperature",
        "top_p": "generationConfig.topP",
        "top_k": "generationConfig.topK",
        "choices": "generationConfig.candidateCount",
        "output_cap": "generationConfig.maxOutputTokens",
        "stop": "generationConfig.stopSequences",
        "presence_penalty": "generationConfig.presencePenalty",
        "frequency_penalty": "generationConfig.frequencyPenalty",
        "seed": "generationConfig.seed",
        "logprobs": "generationConfig.responseLogprobs",
        "top_logprobs": "generationConfig.logprobs",
        "response_format": "generationConfig.responseMimeType",
        "json_object": "generationConfig.responseMimeType",
        "json_schema": "generationConfig.responseJsonSchema",
        "modalities": "generationConfig.responseModalities",
        "reasoning": "generationConfig.thinkingConfig",
        "text": "contents[].parts[].text",
        "image": "contents[].parts[].inlineData",
        "image_url": "contents[].parts[].fileData",
        "file": "contents[].parts[].inlineData",
        "file_url": "contents[].parts[].fileData",
        "file_id": "contents[].parts[].fileData",
        "audio": "contents[].parts[].inlineData",
        "audio_url": "contents[].parts[].fileData",
        "thinking": "contents[].parts[].thoughtSignature",
        "tool_call": "contents[].parts[].functionCall",
        "tool_result": "contents[].parts[].functionResponse",
        "tool_result_error": "contents[].parts[].functionResponse.response",
        "tool_result_media": "contents[].parts[].functionResponse.parts",
    }
)
"""A client's own names, by the attribute they are read into; one that isn't here has the same name."""
