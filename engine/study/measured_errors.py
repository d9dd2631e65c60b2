"""Standard errors of a trial's objectives, for a sampler that knows noise."""

from __future__ import annotations

from unlearn_sweep.engine.store.records import TrialRecord


def measured_errors(record: TrialRecord) -> dict[str, float]:
    """Return the standard errors over facts by objective; an objective whose error is unknown is left out.

    The error of Rob is that of its lowest family. Its attacks are measured on the same facts, so their errors are taken
    to move together: the mean of the errors, which is the most that the error of the mean can be. An attack that was
    skipped counts as 1 in Rob's bound, without an error.
    """
    found: dict[str, float] = {}
    for name, detail in (("ue", record.ue_detail), ("ut", record.ut_detail)):
        if detail is not None and detail.standard_error is not None:
            found[name] = detail.standard_error
    rob = _rob_error(record)
    return found if rob is None else {**found, "rob": rob}


def _rob_error(record: TrialRecord) -> float | None:
    if record.rob_detail is None or not record.rob_detail.families:
        return None
    families = record.rob_detail.families
    lowest, worst = min(families, key=families.__getitem__), record.rob_detail.worst
    errors: dict[str, float] = {}
    for score in record.attacks:
        name = score.searched or score.attack
        if score.family != lowest or worst.get(name, name) != score.attack:
            continue
        if score.skipped:
            errors.setdefault(name, 0.0)
        elif score.value is not None and score.standard_error is None:
            return None
        elif score.value is not None and score.standard_error is not None:
            errors[name] = score.standard_error
    return sum(errors.values()) / len(errors) if errors else None
