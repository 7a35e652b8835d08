"""``seampack pack`` and ``seampack compare``: write a corpus as training sequences, or only plan it."""

from collections.abc import Callable
from typing import Any

import click

from seampack.commands import options as shared
from seampack.commands.grouped import PATH, GroupedCommand, option
from seampack.commands.inspect import report_on
from seampack.commands.packed import report_lengths, report_packed, report_partitions, warn_of_nothing
from seampack.commands.presets import presets, warn_of_idle_options
from seampack.commands.report import (
    note_lines,
    print_json,
    set_interrupted,
    set_memory_advice,
    set_written,
    stopwatch,
    table,
)
from seampack.commands.terminal import live_line
from seampack.config import Group
from seampack.io.places import is_url, shown
from seampack.packer.accounting import compared_counts
from seampack.packer.config import PackConfig
from seampack.packer.plan_config import MAX_SEQ_LEN, PAPER, Strategy

# Options that compare does not use: it plans by every strategy and writes nothing.
_NOT_COMPARED = ("seq_len", "strategy", "shuffle", "seed", "pad", "labels", "output_format", "shard_tokens")
_PAPER = " ".join(f"--{name.replace('_', '-')} {value}" for name, value in PAPER.items())
_MEMORY_ADVICE = "use a smaller --window-tokens, or fewer --threads"


def _unless_mixed(context: click.Context, argument: click.Parameter, inputs: tuple[str, ...]) -> tuple[str, ...]:
    """Return the inputs. Raise click.MissingParameter if there are none, and no mix."""
    if not inputs and not context.params.get("mix"):
        raise click.MissingParameter(ctx=context, param=argument)
    return inputs


def _seq_len(outcome: str) -> Callable[[shared.Command], shared.Command]:
    """Add ``--seq-len``, of which several lengths have an outcome."""
    return option(
        "--seq-len",
        type=shared.Integers(1, MAX_SEQ_LEN),
        multiple=True,
        default=[str(PackConfig().seq_len)],
        show_default=True,
        metavar="TOKENS",
        group=Group.PLANNING,
        help=f"Length of a row. Can be repeated, or several lengths with commas: the corpus is tokenised once, and "
        f"{outcome}.",
    )


@click.command(cls=GroupedCommand)
@click.argument("inputs", type=PATH, nargs=-1, metavar="INPUT...", callback=_unless_mixed)
@option(
    "-o",
    "--out",
    required=True,
    type=PATH,
    metavar="FOLDER",
    group=Group.OUTPUT,
    help="Folder for the shards and their manifest, also at an address such as s3://bucket/folder.",
)
@option("--overwrite", is_flag=True, group=Group.OUTPUT, help="Replace the packed shards in the folder.")
@option(
    "--resume",
    is_flag=True,
    group=Group.RUN,
    help="Go on after the partitions that a run which did not finish has left.",
)
@option(
    "--partition",
    type=shared.Share(),
    default=None,
    metavar="I/N",
    group=Group.RUN,
    help="Pack only the partitions of process I of N, counted from 0; `seampack merge` completes the folder.",
)
@option(
    "--engine",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    group=Group.RUN,
    help="What packs the partitions: this process, or the workers of a Ray cluster.",
)
@option(
    "--ray-address",
    default=None,
    metavar="ADDRESS",
    group=Group.RUN,
    help="Ray cluster; by default one is started here.",
)
@option(
    "--ray-workers",
    type=shared.Integer(min=1),
    default=None,
    group=Group.RUN,
    help="Ray workers; by default one per CPU of the cluster.",
)
@option(
    "--report",
    group=Group.OUTPUT,
    type=PATH,
    default=None,
    metavar="FILE",
    help="Also write a report about the folder as one HTML page, as `seampack inspect --html`; an earlier report is "
    "replaced.",
)
@shared.tokenizer
@shared.pre_segment
@option("--index-only", is_flag=True, group=Group.OUTPUT, help="Short for --output-format index, of a token store.")
@option(
    "--mix",
    multiple=True,
    is_eager=True,
    metavar="INPUT=WEIGHT",
    group=Group.INPUT,
    help="An input, in place of INPUT..., and its share of the tokens: a token store, or a corpus, which is tokenised "
    "for this run. Its name is that of the file or folder; for other names, give NAME=INPUT ... --mix NAME=WEIGHT. Can "
    "be repeated.",
)
@option(
    "--mix-repeat",
    is_flag=True,
    group=Group.INPUT,
    help="Repeat the inputs of a mix until each was packed at least once.",
)
@_seq_len("each length has a folder in the output folder, such as packed/2048")
@shared.config_options(PackConfig, skip=("seq_len",))
@option(
    "--paper",
    is_flag=True,
    group=Group.PLANNING,
    help=f"Seamless Packing as published: {_PAPER}. Options other than --strategy override it.",
)
@option("--fill", is_flag=True, group=Group.PLANNING, help="Short for --leftover fill.")
@shared.threads
@shared.as_json
@shared.with_formats
def pack(
    inputs: tuple[str, ...],
    out: str,
    overwrite: bool,
    resume: bool,
    partition: tuple[int, int] | None,
    engine: str,
    ray_address: str | None,
    ray_workers: int | None,
    report: str | None,
    tokenizer: str | None,
    pre_segment: str | None,
    paper: bool,
    fill: bool,
    index_only: bool,
    mix: tuple[str, ...],
    mix_repeat: bool,
    threads: int | None,
    as_json: bool,
    seq_len: tuple[tuple[int, ...], ...],
    **options: Any,
) -> None:
    """Pack a corpus into fixed-length training sequences.

    \b
    seampack pack corpus/ --tokenizer tokenizer.json --seq-len 4096 -o packed/
    zstdcat corpus.jsonl.zst | seampack pack - --tokenizer gpt2 -o packed/
    seampack pack chats.jsonl --messages-column messages --tokenizer model/ -o sft
    seampack pack corpus/ --output-format megatron --threads 8 -o megatron/
    seampack pack --mix books.jsonl=0.3 --mix web.jsonl.zst=0.7 -o mixed/

    INPUT: {formats}; or - for standard input; or the folder of a token store, which `seampack tokenize` made.
    """
    lengths = [length for several in seq_len for length in several]
    config = PackConfig(**{**options, "seq_len": min(lengths), **presets(paper, fill, index_only)})
    from seampack._memory import keep_freed_memory
    from seampack._pandas import leave_out_pandas

    keep_freed_memory()
    leave_out_pandas()
    from seampack.packer import packing
    from seampack.packer.mixes import Mix
    from seampack.packer.store_manifest import is_token_store

    set_memory_advice(_MEMORY_ADVICE)
    if is_url(out):
        set_interrupted("interrupted; an output that was being uploaded has no manifest.json, so it is incomplete")
    if engine == "ray" or partition is not None:
        set_interrupted("interrupted; finished partitions are kept: the same command goes on after them")
    warn_of_idle_options(config)
    if mix_repeat and not mix:
        raise click.UsageError("--mix-repeat needs --mix INPUT=WEIGHT")
    source: Any = Mix.parsed(inputs, mix, repeat=mix_repeat) if mix else inputs
    places = list(source.stores.values()) if mix else [*inputs]
    is_store = all(map(is_token_store, places if mix else places[:1]))
    if not is_store:
        note_lines([place for place in places if not is_token_store(place)], config.input_format)
    elapsed = stopwatch()
    given: dict[str, Any] = {
        "tokenizer": tokenizer or "bundled" if is_store else shared.tokenizer_name(tokenizer),
        "threads": threads,
        "overwrite": overwrite,
        "split": shared.splitter(pre_segment),
        "notes": {"pre_segment": pre_segment} if pre_segment else None,
        "on_tokenizer": shared.note_special_tokens if shared.frames_automatically(config) else None,
    }
    if engine == "ray" and partition is not None:
        raise click.UsageError("--partition is for processes that you start yourself; --engine ray starts its own")
    if engine != "ray" and (ray_address or ray_workers):
        raise click.UsageError("--ray-address and --ray-workers need --engine ray")
    if len(lengths) > 1 and (engine == "ray" or partition is not None or report is not None):
        raise click.UsageError(
            "several --seq-len are packed by one process, without --report, --partition or --engine ray"
        )
    if report is not None:
        if partition is not None:
            raise click.UsageError("--report needs the whole folder: seampack inspect --html, after seampack merge")
        from seampack.packer.report_page import check_report

        check_report(report, out)
    with live_line() as on_progress:
        if engine == "ray":
            from seampack.packer import ray

            cluster = {"address": ray_address, "workers": ray_workers, "threads": threads or 1}
            manifest = ray.pack(source, config, out, on_progress=on_progress, **given | cluster)
        elif partition is not None:
            number, processes = partition
            packed = packing.pack_partitions(
                source,
                config,
                out,
                chosen=lambda count: range(number, count, processes),
                on_progress=on_progress,
                **given,
            )
        elif len(lengths) > 1:
            manifests = packing.pack_lengths(
                source, config, out, seq_lens=lengths, resume=resume, on_progress=on_progress, **given
            )
        else:
            manifest = packing.pack(source, config, out, resume=resume, on_progress=on_progress, **given)
    set_written(shown(out))
    times = elapsed()
    if partition is not None:
        report_partitions(packed, out, as_json, times)
        return
    if len(lengths) > 1:
        report_lengths(manifests, out, as_json, times)
        return
    try:
        if report is not None:
            report_on(out, report)
    finally:
        report_packed(manifest, out, as_json, times)


@click.command(cls=GroupedCommand)
@shared.corpus
@shared.tokenizer
@option("--fill", is_flag=True, group=Group.PLANNING, help="Short for --leftover fill.")
@option("--optimal", is_flag=True, group=Group.PLANNING, help="Compare the strategy optimal too, which takes seconds.")
@_seq_len("each length has a table")
@shared.config_options(PackConfig, skip=_NOT_COMPARED)
@shared.threads
@shared.as_json
def compare(
    inputs: tuple[str, ...],
    tokenizer: str | None,
    fill: bool,
    optimal: bool,
    threads: int | None,
    as_json: bool,
    seq_len: tuple[tuple[int, ...], ...],
    **options: Any,
) -> None:
    """Compare the packing strategies on a corpus.

    Plans the corpus by each strategy and shows its rows, padding, dropped and repeated tokens, and what becomes of
    documents: split, truncated, or cut although they fit a row. The strategy paper is seamless as published. With
    --balance, imbalance is what ranks wait: the dearest rows over the mean. Nothing is written. INPUT: as for pack.
    """
    lengths = [length for several in seq_len for length in several]
    chosen = presets(paper=False, fill=fill, index_only=False)
    config = PackConfig(**{**options, "seq_len": min(lengths), **chosen})
    from seampack._memory import keep_freed_memory
    from seampack._pandas import leave_out_pandas

    keep_freed_memory()
    leave_out_pandas()
    from seampack.packer.comparison import STRATEGIES
    from seampack.packer.comparison import compare as run
    from seampack.packer.store_manifest import is_token_store

    set_memory_advice(_MEMORY_ADVICE)
    is_store = is_token_store(inputs[0])
    if not is_store:
        note_lines(inputs, config.input_format)
    with live_line("planning") as on_progress:
        comparisons = run(
            inputs,
            config,
            tokenizer=tokenizer or "bundled" if is_store else shared.tokenizer_name(tokenizer),
            strategies=(*STRATEGIES, *([Strategy.OPTIMAL] if optimal else ())),
            seq_lens=lengths,
            threads=threads,
            on_tokenizer=shared.note_special_tokens if shared.frames_automatically(config) else None,
            on_progress=on_progress,
        )
    warn_of_nothing(comparisons[0].accounting)
    rows = [comparison.to_dict() for comparison in comparisons]
    if as_json:
        print_json(rows)
        return
    headings, counts = compared_counts([comparison.accounting for comparison in comparisons])
    columns = {"strategy": "strategy", **headings, "plan_seconds": "CPU-s"}
    if config.balance is not None:
        columns["imbalance"] = "imbalance"
    rows = [row | own for row, own in zip(rows, counts, strict=True)]
    for length in lengths:
        if len(lengths) > 1:
            click.echo(f"rows of {length:,} tokens")
        own = [row for row in rows if row["seq_len"] == length]
        click.echo(table(own, columns))
        if optimal:
            click.echo(f"optimal: at most {own[-1]['rows_over_bound']:,} row(s) more than the fewest")
        if length != lengths[-1]:
            click.echo()
