"""The shapes of Gemini's requests: what `generateContent` and `countTokens` take, field by field.

From https://ai.google.dev/api/generate-content and what the Python SDK 3.4 sends (`models.py`, `*_to_mldev`). As in every API
made with protocol buffers, a field may be spelt in camelCase or in snake_case, and null is as good as none.
"""

from app.demo.shapes import Anything, Flag, ListOf, MapOf, Number, Open, Path, Record, Shape, Text

TEXT = Text()
NUMBER = Number(fractions=True)


def _record(**may: Shape) -> Record:
    return Record(may=may, nulls=True, snake=True)


class Schema:
    """A schema in Gemini's subset of OpenAPI 3.0, which knows no other field: https://ai.google.dev/api/caching#Schema."""

    def read(self, value: object, path: Path) -> object:
        """Raises Misfit."""
        return SCHEMA_FIELDS.read(value, path)


KINDS = ("STRING", "NUMBER", "INTEGER", "BOOLEAN", "ARRAY", "OBJECT", "NULL")
SCHEMA_FIELDS = _record(
    type=Text((*KINDS, *(kind.lower() for kind in KINDS))),
    format=TEXT,
    title=TEXT,
    description=TEXT,
    nullable=Flag(),
    enum=ListOf(TEXT),
    maxItems=Anything(),
    minItems=Anything(),
    properties=MapOf(Schema()),
    required=ListOf(TEXT),
    minProperties=Anything(),
    maxProperties=Anything(),
    minLength=Anything(),
    maxLength=Anything(),
    pattern=TEXT,
    example=Anything(),
    anyOf=ListOf(Schema()),
    propertyOrdering=ListOf(TEXT),
    default=Anything(),
    items=Schema(),
    minimum=NUMBER,
    maximum=NUMBER,
)
BLOB = _record(mimeType=TEXT, data=TEXT, displayName=TEXT)
FILE = _record(mimeType=TEXT, fileUri=TEXT, displayName=TEXT)
DATA: dict[str, Shape] = {
    "text": TEXT,
    "inlineData": BLOB,
    "fileData": FILE,
    "functionCall": _record(id=TEXT, name=TEXT, args=Open()),
    "functionResponse": _record(
        id=TEXT,
        name=TEXT,
        response=Open(),
        parts=ListOf(_record(inlineData=BLOB, fileData=FILE)),
        willContinue=Flag(),
        scheduling=TEXT,
    ),
    "executableCode": Open(),
    "codeExecutionResult": Open(),
    "toolCall": Open(),
    "toolResponse": Open(),
}
PART = _record(
    **DATA,
    thought=Flag(),
    thoughtSignature=TEXT,
    videoMetadata=Open(),
    mediaResolution=Anything(),
    partMetadata=Open(),
    audioTranscription=Anything(),
    mediaProcessing=Anything(),
    speechMetadata=Anything(),
    documentMetadata=Anything(),
    spreadsheetMetadata=Anything(),
    audioMetadata=Anything(),
)
CONTENT = _record(role=TEXT, parts=ListOf(PART))
FUNCTION = _record(
    name=TEXT,
    description=TEXT,
    behavior=TEXT,
    parameters=Schema(),
    parametersJsonSchema=Anything(),
    response=Schema(),
    responseJsonSchema=Anything(),
)
TOOL = _record(
    functionDeclarations=ListOf(FUNCTION),
    googleSearch=Open(),
    googleSearchRetrieval=Open(),
    googleMaps=Open(),
    codeExecution=Open(),
    urlContext=Open(),
    fileSearch=Open(),
    computerUse=Open(),
    mcpServers=ListOf(Open()),
)
TOOL_CONFIG = _record(
    functionCallingConfig=_record(
        mode=Text(("MODE_UNSPECIFIED", "AUTO", "ANY", "NONE", "VALIDATED")),
        allowedFunctionNames=ListOf(TEXT),
        streamFunctionCallArguments=Flag(),
    ),
    retrievalConfig=Open(),
    includeServerSideToolInvocations=Flag(),
)
SAFETY = _record(
    category=Text(
        tuple(
            f"HARM_CATEGORY_{name}"
            for name in (
                "HARASSMENT", "HATE_SPEECH", "SEXUALLY_EXPLICIT", "DANGEROUS_CONTENT", "CIVIC_INTEGRITY", "JAILBREAK"
            )
        )
    ),
    threshold=Text(("BLOCK_LOW_AND_ABOVE", "BLOCK_MEDIUM_AND_ABOVE", "BLOCK_ONLY_HIGH", "BLOCK_NONE", "OFF")),
)  # fmt: skip
THINKING = _record(
    includeThoughts=Flag(),
    thinkingBudget=Number(-1),
    thinkingLevel=Text(("THINKING_LEVEL_UNSPECIFIED", "MINIMAL", "LOW", "MEDIUM", "HIGH", "XHIGH")),
)
GENERATION = _record(
    temperature=Number(0, 2, fractions=True),
    topP=Number(0, 1, fractions=True),
    topK=NUMBER,
    candidateCount=Number(1, 8),
    maxOutputTokens=Number(1),
    stopSequences=ListOf(TEXT),
    responseLogprobs=Flag(),
    logprobs=Number(0, 20),
    presencePenalty=Number(-2, 2, fractions=True),
    frequencyPenalty=Number(-2, 2, fractions=True),
    seed=Number(),
    responseMimeType=Text(("text/plain", "application/json", "text/x.enum")),
    responseSchema=Schema(),
    responseJsonSchema=Anything(),
    responseModalities=ListOf(Text(("TEXT", "IMAGE", "AUDIO"))),
    mediaResolution=TEXT,
    speechConfig=Open(),
    thinkingConfig=THINKING,
    imageConfig=Open(),
    enableEnhancedCivicAnswers=Flag(),
    audioTranscriptionConfig=Open(),
)
GENERATE = Record(
    {"contents": ListOf(CONTENT)},
    {
        "model": TEXT,
        "systemInstruction": CONTENT,
        "tools": ListOf(TOOL),
        "toolConfig": TOOL_CONFIG,
        "safetySettings": ListOf(SAFETY),
        "generationConfig": GENERATION,
        "cachedContent": TEXT,
        "labels": Open(),
        "serviceTier": Text(("flex", "standard", "priority")),
        "store": Flag(),
        "continuationToken": TEXT,
    },
    nulls=True,
    snake=True,
)
COUNT = _record(contents=ListOf(CONTENT), generateContentRequest=GENERATE)
