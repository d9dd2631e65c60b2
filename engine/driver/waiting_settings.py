"""Give the study the settings that users have dropped in a running sweep's folder (`engine.study.enqueued`)."""

from __future__ import annotations

from pathlib import Path

from unlearn_sweep.engine.store.events import EventLog
from unlearn_sweep.engine.study.broker import StudyBroker
from unlearn_sweep.engine.study.enqueued import (
    REFUSED,
    UnusableSettingError,
    read_setting,
    setting_text,
    waiting_files,
)


def take_waiting(sweep: Path, broker: StudyBroker, events: EventLog) -> None:
    """Give the broker the settings that wait in the folder, in the order of writing, as far as it takes them now.

    A file that is no setting of this sweep is renamed, and an event says why.
    """
    for path in waiting_files(sweep):
        try:
            found = read_setting(path, broker.spaces.values())
        except UnusableSettingError as error:
            path.replace(path.with_name(path.name + REFUSED))
            events.append("note", reason=f"enqueued setting {path.name} is refused: {error}")
            continue
        if not broker.enqueue(found.setting, found.name):
            return  # it waits, and so do the later ones
        path.unlink()
        events.append("note", reason=f"enqueued setting is tried next: {setting_text(found.setting)}")
