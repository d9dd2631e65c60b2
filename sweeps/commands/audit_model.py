"""The command `unlearn-sweep audit`: its options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unlearn_sweep.sweeps.arguments import MOST_THREADS, AsJson, Plugins, Storage, text_if_given, texts_if_given
from unlearn_sweep.sweeps.commands.sweep_file import mistakes_as_json
from unlearn_sweep.sweeps.printing import print_json_text


def audit(
    model: Annotated[
        str, typer.Option(metavar="PATH", callback=text_if_given, help="The model: a folder, or a hub id owner/name.")
    ],
    benchmark: Annotated[
        str, typer.Option(metavar="NAME", callback=text_if_given, help="What it was to forget: a benchmark's name.")
    ],
    gold: Annotated[
        str | None,
        typer.Option(metavar="PATH", callback=text_if_given, help="A model that never saw the forget set, or: chance."),
    ] = None,
    original: Annotated[
        str | None, typer.Option(metavar="PATH", callback=text_if_given, help="The model before unlearning.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", callback=texts_if_given, help="An option of the benchmark."),
    ] = None,
    attack: Annotated[
        list[str] | None,
        typer.Option(metavar="ATTACK", callback=texts_if_given, help='A name, or "{name: {parameter: value}}".'),
    ] = None,
    prompt: Annotated[
        str | None,
        typer.Option(
            metavar="FORMAT",
            callback=text_if_given,
            help='How it is asked: auto, chat, plain, or "{format: chat, system: ...}".',
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", callback=text_if_given, help="Folder of the audit below the storage.")
    ] = None,
    storage: Storage = None,
    seed: Annotated[int, typer.Option(min=0, help="Draws rows and demonstrations.")] = 0,
    tokenizer: Annotated[
        str | None,
        typer.Option(
            metavar="PATH", callback=text_if_given, help="Tokenizer of all models, where it is not beside the weights."
        ),
    ] = None,
    dtype: Annotated[str, typer.Option(help="auto (float32 on a CPU, bfloat16 on a GPU), float32, bfloat16.")] = "auto",
    attention: Annotated[str, typer.Option(help="auto, sdpa, eager, flash_attention_2.")] = "auto",
    ue: Annotated[
        list[str] | None,
        typer.Option(metavar="METRIC", callback=texts_if_given, help="A metric of forgetting; several times."),
    ] = None,
    ut: Annotated[
        list[str] | None,
        typer.Option(metavar="METRIC", callback=texts_if_given, help="A metric of utility; several times."),
    ] = None,
    threads: Annotated[int, typer.Option(min=1, max=MOST_THREADS, help="CPU threads.")] = 1,
    plugin: Plugins = None,
    plain: Annotated[bool, typer.Option("--plain", help="Lines in place of the live view.")] = False,
    as_json: AsJson = False,
) -> None:
    """Measure and attack one existing model and write the same report, without a search or unlearning."""
    from unlearn_sweep.sweeps import audit as auditing
    from unlearn_sweep.sweeps.screen import Screen

    request = auditing.AuditRequest(
        model=model,
        benchmark=benchmark,
        gold=gold,
        original=original,
        settings=tuple(settings or ()),
        attacks=tuple(attack or ()),
        prompt=prompt,
        name=name,
        storage=storage or "runs",
        seed=seed,
        tokenizer=tokenizer,
        dtype=dtype,
        attention=attention,
        ue=tuple(ue or ()),
        ut=tuple(ut or ()),
        threads=threads,
        plugins=tuple(str(path) for path in plugin or ()),
        folder=Path.cwd(),
    )
    with mistakes_as_json(as_json):
        checked = auditing.check(request)
    code = auditing.audit(checked, console=Screen(stderr=as_json), plain=plain or as_json, quiet=as_json)
    if as_json:
        from unlearn_sweep.sweeps.report import build

        print_json_text(build.report_json(build.load_report(checked.job.directory)))
    raise typer.Exit(code)
