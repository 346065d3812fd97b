"""The options that script a media job: how it is received, how long it takes, what comes of it, what breaks on the way."""

from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec

from app.demo.options import USAGE_WORD, Count, OptionsError, read_pairs

Seconds = Annotated[float, msgspec.Meta(ge=0, le=86_400)]
Failure = Annotated[int, msgspec.Meta(ge=400, le=599)]
# So that one who tries the demo sees progress.
DEFAULT_SECONDS = 3.0


class MediaOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What becomes of one job; every field is optional, and an unknown one is refused.

    Three sources, each overriding the one before: the model name after `?` (`demo-video?polls=3`), the submission's
    header `x-demo: polls=3`, and the fault that `POST /_demo/faults` queued for the model. They stay with the job.

    | option | the submission |
    |---|---|
    | `status=N` | 400 to 599: refused, with an error in the format's shape; no job is made |
    | `refuse=TEXT` | refused with 400 and this message |
    | `code=NAME`, `retry_after=S` | of the error that `status` or `refuse` asks for; a 429 has `retry-after: 1` unless told |
    | `body=html` | the refusal is a page of HTML; without `status` it has 200, and still no job is made |
    | `key=TEXT` | any other key gets 401 |
    | `drop=1` | the connection is closed without an answer, and no job is made |
    | `lost=1` | the job is made, then the connection is closed without an answer |
    | `stall=submit` | the job is made, and no answer comes |
    | `idempotent=1` | the `Idempotency-Key` header counts: the same key gets the same job again |
    | `slow_ms=N` | wait before the answer to the submission and to each poll |

    | option | the job |
    |---|---|
    | `polls=N` | final as of the Nth poll |
    | `seconds=S` | else final after so much time; 3 s unless told |
    | `never=1` | stays in progress, until `POST /_demo/jobs/{id}` says otherwise |
    | `fail=TEXT`, `fail_code=NAME` | ends as failed, for this reason |
    | `outputs=N` | so many results instead of what was asked for; 0 is a success without any |
    | `made_seconds=S` | reports this length as produced, and the file has it |
    | `tokens=N` | reports so many output tokens, where the format reports tokens |
    | `usage=WORDS` | as in chat: `missing`, `zero`, `huge`, `negative`, `string`; for OpenAI's images and speech |
    | `quirk=WORDS` | comma-separated words that a format gives a meaning to |

    | option | polls and files |
    |---|---|
    | `poll_status=N` | polls answer with this error: all of them, or the first `poll_faults` |
    | `poll_faults=N` | the first N polls fail, with 503 unless told |
    | `poll_body=KIND` | failing polls get `html` (a page with 200, or with `poll_status`), `drop` (the connection is \
closed) or `stall` (no answer) |
    | `poll_after_ms=N` | the answers ask for this pause, where the format has a header for it |
    | `big=BYTES` | each file is exactly this long: the media, then filler; written as it is sent |
    | `file_status=N` | downloads answer with this error: all of them, or the first `file_faults` |
    | `file_faults=N` | the first N downloads fail, with 503 unless told |
    | `file_cut=BYTES` | the connection is closed after so many bytes of a file; with `file_faults` only the first N times |
    | `file_ms=N` | a pause after every piece (256 KiB) of a file |

    `file_cut` and `file_ms` hold for answers in pieces too: speech, and images that are streamed.
    """

    status: Failure | None = None
    refuse: str | None = None
    code: str | None = None
    retry_after: str | None = None
    body: Literal["html"] | None = None
    key: str | None = None
    drop: bool = False
    lost: bool = False
    stall: Literal["submit"] | None = None
    idempotent: bool = False
    slow_ms: Count = 0
    polls: Annotated[int, msgspec.Meta(ge=1)] | None = None
    seconds: Seconds = DEFAULT_SECONDS
    never: bool = False
    fail: str | None = None
    fail_code: str | None = None
    outputs: Annotated[int, msgspec.Meta(ge=0, le=100)] | None = None
    made_seconds: Seconds | None = None
    tokens: Count | None = None
    usage: Annotated[str, msgspec.Meta(pattern=f"^({USAGE_WORD}(,{USAGE_WORD})*)?$")] = ""
    quirk: str = ""
    poll_status: Failure | None = None
    poll_faults: Count | None = None
    poll_body: Literal["html", "drop", "stall"] | None = None
    poll_after_ms: Count | None = None
    big: Annotated[int, msgspec.Meta(ge=1, le=1 << 40)] | None = None
    file_status: Failure | None = None
    file_faults: Count | None = None
    file_cut: Count | None = None
    file_ms: Count = 0

    def reports(self, word: str) -> bool:
        """Whether `usage` names this word."""
        return word in self.usage.split(",")

    def has(self, quirk: str) -> bool:
        """Whether `quirk` names this word."""
        return quirk in self.quirk.split(",")

    def fails_poll(self, number: int) -> bool:
        """Whether the poll of that number, counted from 1, gets a fault."""
        if self.poll_faults is not None:
            return number <= self.poll_faults
        return self.poll_status is not None or self.poll_body is not None

    def fails_file(self, number: int) -> bool:
        """Whether the download of that number, counted from 1, gets an error or is cut."""
        if self.file_faults is not None:
            return number <= self.file_faults
        return self.file_status is not None or self.file_cut is not None


NAMES = frozenset(MediaOptions.__struct_fields__)


def read_media_options(pairs: Mapping[str, object]) -> MediaOptions:
    """Checks merged options, texts or JSON values alike; raises OptionsError."""
    try:
        return msgspec.convert(dict(pairs), MediaOptions, strict=False)
    except msgspec.ValidationError as error:
        raise OptionsError(str(error)) from error


def read_job_options(model_texts: str, header: str, fault: Mapping[str, object] | None) -> MediaOptions:
    """The options from the three sources, the later ones winning; raises OptionsError."""
    return read_media_options({**read_pairs(model_texts), **read_pairs(header), **(fault or {})})
