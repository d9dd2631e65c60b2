"""Compress records to text before they are reported to Tune.

Tune keeps several copies of each trial's result until the sweep ends. Compression reduces a record to about a third.
"""

from __future__ import annotations

import base64
import zlib
from typing import TypeVar

from pydantic import BaseModel

Sent = TypeVar("Sent", bound=BaseModel)


def packed(record: BaseModel) -> str:
    """Return the record's JSON, compressed, as ASCII text."""
    return base64.b85encode(zlib.compress(record.model_dump_json().encode())).decode("ascii")


def unpacked(kind: type[Sent], text: str) -> Sent:
    """Return the record from packed text. Raise ValueError if it is not a record of this kind."""
    try:
        content = zlib.decompress(base64.b85decode(text))
    except zlib.error as error:
        raise ValueError(f"not a packed {kind.__name__}: {error}") from None
    return kind.model_validate_json(content)
