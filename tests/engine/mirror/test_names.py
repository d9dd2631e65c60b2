"""Keys of a mirror are not our own: whoever may write there chooses them. Oracle: where the file would land."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from unlearn_sweep.engine.mirror.address import Mirror, MirrorError, is_plain_name


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("sweep/trials/0.json", True),
        ("store/models/0123456789abcdef/model.safetensors", True),
        ("store/stages/../../../etc/passwd", False),
        ("../x", False),
        ("sweep//x", False),
        ("/etc/passwd", False),
        ("sweep/./x", False),
        ("sweep\\..\\x", False),
        ("sweep/a\x1b[2J", False),
        ("sweep/..", False),
    ],
)
def test_only_ordinary_relative_names_are_taken(name: str, plain: bool) -> None:
    assert is_plain_name(name) is plain


def test_a_key_that_leads_out_of_the_mirror_is_refused_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror = Mirror(f"file://{tmp_path / 'mirror'}", writer="w")

    def find(place: str, detail: bool) -> dict[str, dict[str, Any]]:
        return {f"{tmp_path}/mirror/sweep/../../outside": {"type": "file", "size": 3}}

    monkeypatch.setattr(mirror._fs, "find", find)
    with pytest.raises(MirrorError, match=r"sweep/\.\./\.\./outside"):
        mirror.listing("sweep")
    assert list(tmp_path.iterdir()) == []
