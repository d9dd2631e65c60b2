"""Writers against a real server. Oracle: what the server counted."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from tests.evaluators.judge.server import Reply, serving
from unlearn_sweep.evaluators.chat_models.settings import ChatModelSettings
from unlearn_sweep.evaluators.written_views.writers import KeptAnswers, Writer

SETTINGS = ChatModelSettings(url="", model="writer-1", first_wait_s=0.01, longest_wait_s=0.05, concurrency=4)


def test_writers_that_work_at_the_same_time_pay_once_for_an_answer(tmp_path: Path) -> None:
    """Two writers over one folder are two processes to each other."""
    asked = [[{"role": "user", "content": json.dumps({"response": f"answer {i}"})}] for i in range(8)]
    with serving(lambda row, before: Reply(text=row["response"].upper(), stall_s=0.05)) as server:
        writers = [Writer(replace(SETTINGS, url=server.url), KeptAnswers(tmp_path)) for _ in range(2)]
        with ThreadPoolExecutor(8) as pool:
            found = [[pool.submit(writer.ask, messages, 20, 0) for messages in asked] for writer in writers]
            texts = [[future.result().text for future in answers] for answers in found]
    assert server.asked == {f"answer {i}": 1 for i in range(8)}
    assert texts[0] == texts[1] == [f"ANSWER {i}" for i in range(8)]
    assert sum(writer.cost.calls for writer in writers) == sum(writer.cost.cached for writer in writers) == 8
