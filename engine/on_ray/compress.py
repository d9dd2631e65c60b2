"""Records as Tune carries them: compressed text.

Tune keeps what comes back from a trial, in several copies, until the sweep ends. Packed, a record takes a third.
"""

from __future__ import annotations

import base64
import zlib
from typing import TypeVar

from pydantic import BaseModel

Sent = TypeVar("Sent", bound=BaseModel)


def packed(record: BaseModel) -> str:
    """The record's JSON, compressed, as ASCII."""
    return base64.b85encode(zlib.compress(record.model_dump_json().encode())).decode("ascii")


def unpacked(kind: type[Sent], text: str) -> Sent:
    """The record that was packed. ValueError where it is none of this kind."""
    try:
        content = zlib.decompress(base64.b85decode(text))
    except zlib.error as error:
        raise ValueError(f"not a packed {kind.__name__}: {error}") from None
    return kind.model_validate_json(content)
