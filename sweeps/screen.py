"""A rich console that escapes control characters in everything it lays out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from unlearn_sweep.engine.privacy.secrets import visible

NARROWEST, USUAL_WIDTH = 20, 80


class Screen(Console):
    """Console whose text cannot control the terminal. Rich's own control codes (colours, live view) are unchanged.

    Every renderable, also inside tables and live views, passes through `render`. Square brackets and colons in a text
    are printed as they are: no markup, no emoji codes.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"markup": False, "emoji": False, **options})
        if self.width < NARROWEST:  # COLUMNS of a shell without a terminal may be 0: nothing would be printed
            self.width = USUAL_WIDTH

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(visible(segment.text), segment.style)
