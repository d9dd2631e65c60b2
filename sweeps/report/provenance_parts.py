"""The section of the page that says where its numbers come from."""

from __future__ import annotations

from html import escape

from unlearn_sweep.sweeps.calibrate import COLUMNS, trust_rows
from unlearn_sweep.sweeps.report.document import Report
from unlearn_sweep.sweeps.report.html_table import Cell, table
from unlearn_sweep.sweeps.report.judging import judging_text

UNKNOWN = "not recorded"


def provenance_section(report: Report) -> str:
    """Render seed, data, models, code, command, machine, device hours and cost, then versions and starts."""
    facts = table(("what", "value"), provenance_lines(report), label="Provenance")
    shown = [(name, version or "not installed") for name, version in sorted(report.versions.items())]
    versions = table(("package", "version at the last start"), shown, label="Versions") if shown else ""
    return facts + _trust(report) + versions + _starts(report)


def provenance_lines(report: Report) -> list[tuple[Cell, Cell]]:
    """Return the facts in the order of the page. A fact that an older version did not record says so."""
    found = report.provenance
    origin = found.origin
    lines: list[tuple[Cell, Cell]] = [
        ("seed", UNKNOWN if found.seed is None else str(found.seed)),
        ("benchmark", report.benchmark or UNKNOWN),
        *((f"benchmark option {name}", value) for name, value in found.data.items()),
        *((f"weight of {metric} in UE", f"{weight:.3g}") for metric, weight in found.ue_weights.items()),
        ("digest of the benchmark's content", found.data_digest or UNKNOWN),
        *((f"content name of the {which} model", name) for which, name in found.models.items()),
        ("command", UNKNOWN if origin is None else origin.command),
        ("commit of unlearn-sweep", "no git repository" if origin and not origin.commit else _commit(report)),
        ("machine", UNKNOWN if origin is None else _machine(report)),
        ("hosts that measured", ", ".join(found.hosts) or UNKNOWN),
    ]
    lines += [(f"{resource} hours held by stages", f"{hours:.3g}") for resource, hours in found.device_hours.items()]
    judged = judging_text(report.judging)
    lines += [("asked of judges", judged)] if judged else []
    price = "no price given: report --gpu-hour-price, --cpu-hour-price"
    return [*lines, ("cost", price if found.dollars is None else f"${found.dollars:.2f}")]


def _commit(report: Report) -> str:
    origin = report.provenance.origin
    return UNKNOWN if origin is None or origin.commit is None else origin.commit


def _machine(report: Report) -> str:
    origin = report.provenance.origin
    if origin is None:
        return UNKNOWN
    names = {name: origin.gpus.count(name) for name in origin.gpus}
    gpus = ", ".join(f"{count} x {name}" for name, count in names.items()) or "no GPU"
    cpu = f"{origin.cpus} CPUs{f' of {origin.cpu}' if origin.cpu else ''}"
    return f"{origin.host}: {cpu}, {origin.memory_gib:.0f} GiB, {gpus}; {origin.system}"


def _trust(report: Report) -> str:
    """Render what the calibration behind measured weights found of each metric of UE."""
    if not report.provenance.ue_trust:
        return ""
    rows = trust_rows(report.provenance.ue_trust)
    title = "Which metrics tell models apart, and last under attacks (calibrate)"
    return f"<h3>{escape(title)}</h3>" + table(COLUMNS, rows, label="Trust in metrics")


def _starts(report: Report) -> str:
    starts = [
        (
            start.date,
            start.versions.get("unlearn-sweep") or "",
            start.code,
            str(report.code_versions.get(start.code, 0)),
        )
        for start in report.starts
    ]
    head = ("start (UTC)", "unlearn-sweep", "code", "trials of that code")
    return f"<h3>{escape('Starts')}</h3>" + table(head, starts, label="Starts") if starts else ""
