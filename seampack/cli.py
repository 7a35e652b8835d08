"""The command line: options to a frozen config, one library call, print. Heavy imports are inside the commands."""

import json
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import click

from seampack._memory import keep_freed_memory
from seampack._version import __version__
from seampack.commands.models import models
from seampack.commands.options import config_options
from seampack.commands.report import accounting_lines, row_text, table
from seampack.commands.segment import segment
from seampack.errors import SeampackError
from seampack.io.formats import Format
from seampack.packer.config import PackConfig

_WRITING = ("on_bad", "pad", "labels", "output_format", "shard_tokens")
_INTERRUPTED = 130


class _Group(click.Group):
    """Turns every foreseen failure into one line on standard error; a closed pipe (``| head``) ends it silently."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:  # click would print an empty line first
            _fail("interrupted; nothing incomplete was kept", _INTERRUPTED)

    def main(self, *args: Any, **settings: Any) -> NoReturn:
        warnings.showwarning = lambda message, *_: click.echo(f"seampack: warning: {message}", err=True)
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            super().main(*args, **{**settings, "standalone_mode": False})
            if sys.stdout is not None:  # as under >&-
                sys.stdout.flush()
        except SeampackError as error:
            _fail(str(error), 1)
        except click.UsageError as error:
            error.show()
            sys.exit(error.exit_code)
        except click.ClickException as error:
            _fail(error.format_message(), error.exit_code)
        except (KeyboardInterrupt, click.Abort):
            _fail("interrupted; nothing incomplete was kept", _INTERRUPTED)
        except click.exceptions.Exit as stop:
            sys.exit(stop.exit_code)
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            _fail(f"{where}{error.strerror or error}", 1)
        except MemoryError:
            _fail("out of memory; pack needs less with a smaller --window-tokens", 1)
        sys.exit(0)


def _fail(message: str, code: int) -> NoReturn:
    click.echo(f"seampack: {' '.join(message.splitlines())}", err=True)
    sys.exit(code)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="seampack")
def main() -> None:
    """Turn text corpora into training sequences without breaking what belongs together."""


_inputs = click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
_tokenizer = click.option(
    "--tokenizer",
    default=None,
    metavar="FILE|NAME",
    help="A tokenizer.json or hub name; without it, a small bundled one.",
)
_pre_segment = click.option(
    "--pre-segment",
    metavar="MODEL",
    help="Cut text into words first, by a segmenter (zh or a folder): no token crosses a word.",
)
_threads = click.option(
    "--threads", type=click.IntRange(min=1), default=None, help="Worker threads; by default all cores."
)
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")


@main.command()
@_inputs
@click.option("-o", "--out", required=True, metavar="FOLDER", help="Folder for the shards and their manifest.")
@click.option("--overwrite", is_flag=True, help="Replace the packed shards that the folder holds.")
@_tokenizer
@_pre_segment
@config_options(PackConfig)
@_threads
@_json
def pack(
    inputs: tuple[str, ...],
    out: str,
    overwrite: bool,
    tokenizer: str | None,
    pre_segment: str | None,
    threads: int | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Pack a corpus into shards of fixed-length training sequences.

    INPUT: files or globs of JSONL (plain, .gz, .zst), Parquet, Arrow or plain text, folders of saved Hugging Face
    datasets, or - for standard input.

    \b
    zstdcat corpus.jsonl.zst | seampack pack - --tokenizer tokenizer.json --seq-len 2048 -o packed/
    """
    config = PackConfig(**options)
    keep_freed_memory()
    from seampack.packer.packing import pack as run

    started = time.perf_counter(), time.process_time()
    with _progress(inputs) as on_progress:
        manifest = run(
            inputs,
            config,
            out,
            tokenizer=_chosen(tokenizer),
            threads=threads,
            overwrite=overwrite,
            split=_split(pre_segment),
            notes={"pre_segment": pre_segment} if pre_segment else None,
            on_progress=on_progress,
        )
    seconds = time.perf_counter() - started[0]
    cpu_seconds = time.process_time() - started[1]
    if as_json:
        click.echo(json.dumps({**manifest, "seconds": seconds, "cpu_seconds": cpu_seconds}))
        return
    if not manifest["accounting"]["documents"]:
        click.echo("seampack: warning: the input has no document", err=True)
    size = sum(shard["bytes"] for shard in manifest["shards"])
    click.echo(accounting_lines(manifest["accounting"]))
    if manifest["quarantined"]:
        click.echo(f"quarantined {manifest['quarantined']:>16,}   records, in quarantine.jsonl")
    click.echo(f"written     {size / 1e6:>13,.1f} MB   in {len(manifest['shards'])} shard(s), {out}")
    click.echo(f"time        {seconds:>14,.1f} s   {cpu_seconds:,.1f} CPU-s")


@main.command()
@_inputs
@_tokenizer
@config_options(PackConfig, skip=("strategy", "shuffle", "seed", *_WRITING))
@_threads
@_json
def compare(inputs: tuple[str, ...], tokenizer: str | None, threads: int | None, as_json: bool, **options: Any) -> None:
    """Plan one corpus by every strategy, and show what each pads, drops, repeats and splits."""
    config = PackConfig(**options)
    keep_freed_memory()
    from seampack.packer.comparing import compare as run

    with _progress(inputs) as on_progress:
        found = run(inputs, config, tokenizer=_chosen(tokenizer), threads=threads, on_progress=on_progress)
    rows = [comparison.to_dict() for comparison in found]
    if as_json:
        click.echo(json.dumps(rows))
        return
    columns = {
        "strategy": "strategy",
        "rows": "rows",
        "fill": "fill",
        "padding": "padding",
        "dropped": "dropped",
        "repeated": "repeated",
        "documents_split": "split",
        "cuts": "cuts",
        "plan_seconds": "CPU-s",
    }
    click.echo(table(rows, columns))


@main.command()
@click.argument("folder")
@click.option("--row", "rows", type=int, multiple=True, metavar="N", help="Show this row as text; may be given often.")
@click.option("--verify", is_flag=True, help="Check every shard's checksum, and the accounting against the rows.")
@_tokenizer
@_json
def inspect(folder: str, rows: tuple[int, ...], verify: bool, tokenizer: str | None, as_json: bool) -> None:
    """Show what a packed folder holds; rows as text with the borders of their segments."""
    from seampack.packer.packed import PackedFolder

    packed = PackedFolder(folder)
    if verify:
        packed.verify()
    outcome = {"verified": True} if verify else {}
    if rows:
        shown = [packed.row(index) for index in rows]
        decode = _decoder(packed.manifest["tokenizer"], tokenizer)
        for index, row in zip(rows, shown, strict=True):
            line = json.dumps({"row": index, **row, **outcome}) if as_json else f"row {index}\n{row_text(row, decode)}"
            click.echo(line)
    elif as_json:
        click.echo(json.dumps({**packed.manifest, **outcome}))
    else:
        manifest = packed.manifest
        facts = manifest["tokenizer"]
        click.echo(f"strategy    {manifest['config']['strategy']:>16}   seampack {manifest['seampack_version']}")
        click.echo(f"tokenizer   {facts['vocab_size']:>16,}   ids, {facts['name']}")
        click.echo(accounting_lines(manifest["accounting"]))
        for shard in packed.shards:
            size = f"{shard['bytes'] / 1e6:>9,.1f} MB"
            click.echo(f"{shard['file']}  {shard['rows']:>10,} rows  {size}  {shard['checksum']}")
    if verify and not as_json:
        click.echo("verified: every checksum, and the accounting against the rows")


@main.group()
def tokenizer() -> None:
    """Work with tokenizers."""


@tokenizer.command()
@_inputs
@click.option("-o", "--out", required=True, metavar="FILE", help="The tokenizer.json to write.")
@click.option("--vocab-size", type=int, default=32_000, show_default=True, help="Largest number of tokens.")
@click.option("--min-frequency", type=int, default=2, show_default=True, help="Least occurrences of a merged pair.")
@click.option(
    "--special-token",
    "special_tokens",
    multiple=True,
    default=("<|endoftext|>",),
    show_default=True,
    help="A control token; may be given often.",
)
@_pre_segment
@click.option("--text-column", default="text", show_default=True, help="Field or column that holds a document's text.")
@click.option(
    "--input-format",
    type=click.Choice([member.value for member in Format]),
    default="auto",
    show_default=True,
    help="How inputs are read; auto looks at the first bytes of each file.",
)
def train(
    inputs: tuple[str, ...],
    out: str,
    vocab_size: int,
    min_frequency: int,
    special_tokens: tuple[str, ...],
    pre_segment: str | None,
    text_column: str,
    input_format: str,
) -> None:
    """Train a byte-level BPE tokenizer on a corpus."""
    config = PackConfig(text_column=text_column, input_format=input_format)
    from seampack.packer.train_tokenizer import train_tokenizer

    size = train_tokenizer(
        inputs,
        out,
        vocab_size=vocab_size,
        min_frequency=min_frequency,
        special_tokens=special_tokens,
        config=config,
        split=_split(pre_segment),
        show_progress=sys.stderr.isatty(),
    )
    click.echo(f"{out}: {size:,} tokens")


main.add_command(segment)
main.add_command(models)


def _split(model: str | None) -> Any:
    """How ``--pre-segment`` cuts texts, or None."""
    if model is None:
        return None
    from seampack.segmenter.model import Segmenter

    return Segmenter.load(model).pieces


def _chosen(tokenizer_name: str | None) -> str:
    if tokenizer_name is not None:
        return tokenizer_name
    click.echo("seampack: no --tokenizer: using the small bundled one, made for trying things out", err=True)
    return "bundled"


def _decoder(facts: dict[str, Any], name: str | None) -> Callable[[Any], str] | None:
    """How rows become text: with the tokenizer that packed them, where it can be had and is still the same."""
    from seampack.packer.tokenizing import TextTokenizer

    try:
        found = TextTokenizer(name or facts["name"])
    except SeampackError as error:
        if name is not None:
            raise
        click.echo(f"seampack: warning: ids are shown: {error}; give --tokenizer", err=True)
        return None
    if found.fingerprint != facts["fingerprint"]:
        click.echo("seampack: warning: this is not the tokenizer that the folder was packed with", err=True)
    return found.decode


@contextmanager
def _progress(inputs: tuple[str, ...]) -> Iterator[Callable[[Any], None] | None]:
    """A progress bar on a terminal, nothing in a pipe."""
    if not sys.stderr.isatty():
        yield None
        return
    from tqdm import tqdm

    with tqdm(unit="B", unit_scale=True, desc="packing" if len(inputs) > 1 else inputs[0]) as bar:

        def show(progress: Any) -> None:
            bar.set_postfix_str(f"{progress.documents:,} documents, {progress.tokens:,} tokens", refresh=False)
            bar.update(progress.input_bytes - bar.n)

        yield show


if __name__ == "__main__":
    main()
