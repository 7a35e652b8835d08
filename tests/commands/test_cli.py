"""The command line as a whole: help, exit codes, standard output and standard error."""

import errno
import functools
import signal
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import click
import pytest

import seampack
from seampack import cli
from seampack._signals import STOPPING
from seampack._version import __version__
from seampack.commands import pack as pack_command
from seampack.commands import packed
from seampack.commands.grouped import PATH
from seampack.commands.report import set_interrupted, set_written
from seampack.errors import ConfigError
from seampack.io.formats import CODECS
from tests.conftest import CORPUS, Run, command, commands, obey_interrupts
from tests.faulty import failed

COMMANDS = commands()
SEAMPACK = f"{sys.executable} -m seampack.cli"
VERBS = set((Path(__file__).parent.parent / "data" / "verbs.txt").read_text("utf-8").split())
HEAVY = ("numba", "numpy", "pyarrow", "tokenizers", "fastokens", "torch", "datasets", "tqdm", "msgspec", "tomllib")

each_command = pytest.mark.parametrize(
    ("path", "click_command"), [pytest.param(*item, id=" ".join(("seampack", *item[0]))) for item in COMMANDS.items()]
)


def shell(line: str, folder: Path) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(["bash", "-c", line], cwd=folder, capture_output=True, timeout=60, check=False)


@each_command
def test_help_names_every_option_and_command(call: Run, path: tuple[str, ...], click_command: click.Command) -> None:
    result = call(*path, "--help")
    assert (result.returncode, result.stderr) == (0, b"")
    shown = result.stdout.decode()
    assert shown.startswith(f"Usage: {' '.join(('seampack', *path))} ")
    for parameter in click_command.params:
        for name in (*parameter.opts, *parameter.secondary_opts):
            assert name in shown or isinstance(parameter, click.Argument)
    for name in getattr(click_command, "commands", {}):
        assert f"  {name} " in shown


@each_command
def test_texts_of_help(path: tuple[str, ...], click_command: click.Command) -> None:
    """The help of a command begins with a verb, and its first sentence fits into the list of commands."""
    assert click_command.help is not None
    assert click_command.help.split()[0] in VERBS
    shortened = click_command.get_short_help_str(60)
    assert not path or shortened.removesuffix("...").endswith(".")
    for parameter in click_command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, parameter.name
            assert parameter.help.endswith("."), parameter.name


def test_help_imports_nothing_heavy() -> None:
    """Heavy imports would make ``--help`` slow. Runs in a separate process, as other tests import everything."""
    lines = [[*path, "--help"] for path in COMMANDS]
    code = (
        "import sys; from seampack.cli import main\n"
        f"for line in {lines}:\n"
        "    try: main(line)\n"
        "    except SystemExit: pass\n"
        f"print('imported:', [name for name in {HEAVY} if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert result.stdout.splitlines()[-1] == "imported: []"


@pytest.mark.parametrize("path", [("pack",), ("segment", "train"), ("segment", "apply")], ids=" ".join)
def test_help_lists_all_formats_and_compressions(call: Run, path: tuple[str, ...]) -> None:
    shown = " ".join(call(*path, "--help").stdout.decode().split())
    for name in ("JSON lines", "JSON,", "CSV", "TSV", "plain text", "Parquet", "Arrow", "datasets", *CODECS):
        assert name in shown


def test_version(run: Run) -> None:
    assert run("--version").stdout.decode().split()[-1] == __version__


def test_the_package_is_a_program() -> None:
    result = subprocess.run([sys.executable, "-m", "seampack", "--version"], capture_output=True, check=False)
    assert (result.returncode, result.stdout) == (0, f"seampack, version {__version__}\n".encode())


@pytest.mark.parametrize("group", [(), ("segment",), ("models",), ("tokenizer",)], ids=" ".join)
def test_a_group_without_a_command_shows_its_help(call: Run, group: tuple[str, ...]) -> None:
    result = call(*group)
    assert (result.returncode, result.stdout) == (2, b"")
    assert result.stderr == call(*group, "--help").stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["pack", "a.txt", "-o", ""],
        ["pack", "", "-o", "out"],
        ["pack", "a.txt", "-o", "out", "--report", ""],
        ["tokenize", "a.txt", "-o", ""],
        ["tokenize", "", "-o", "out"],
        ["compare", ""],
        ["merge", ""],
        ["inspect", "", "--row", "0"],
        ["inspect", "out", "--html", ""],
        ["unpack", "out", "-o", ""],
        ["tokenizer", "train", "a.txt", "-o", ""],
        ["segment", "apply", "a.txt", "-o", ""],
        ["segment", "train", "a.txt", "-o", ""],
        ["models", "train", "ranmask", "--data", "a.csv", "-o", ""],
    ],
    ids=" ".join,
)
def test_an_empty_path_is_not_the_current_folder(call: Run, arguments: list[str], tmp_path: Path) -> None:
    assert "expected a path or a name; got an empty text" in failed(call(*arguments), 2)
    assert list(tmp_path.iterdir()) == []


def test_every_output_is_a_path() -> None:
    for click_command in COMMANDS.values():
        assert all(option.type is PATH for option in click_command.params if "-o" in option.opts)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("nonsense", "No such command 'nonsense' (see seampack --help)"),
        ("models nonsense", "No such command 'nonsense' (see seampack models --help)"),
        ("pack", "Missing argument 'INPUT...' (see seampack pack --help)"),
        ("pack a.jsonl", "Missing option '-o' / '--out' (see seampack pack --help)"),
        ("pack a.jsonl -o out --nonsense", "--nonsense"),
        (
            "pack a.jsonl -o out --strategy nonsense",
            "'--strategy': expected one of seamless, concat, best_fit, ffd, pad, keep_order, optimal; got 'nonsense'",
        ),
        ("pack a.jsonl -o out --seq-len many", "expected an integer from 1 to 16,777,216; got 'many'"),
        ("pack a.jsonl -o out --seq-len 0", "Invalid value for '--seq-len': expected an integer from 1 to"),
        ("pack a.jsonl -o out --max-overlap 1", "expected a number from 0 to below 1; got '1' (see"),
        ("pack a.jsonl -o out --max-overlap nan", "expected a number from 0 to below 1; got 'nan' (see"),
        ("segment train a -o out --epochs inf", "'--epochs': expected a number from "),
        ("pack a.jsonl -o out --threads 0", "expected an integer of at least 1; got '0' (see seampack pack --help)"),
        ("tokenizer train a.txt -o out --vocab-size 0", "Invalid value for '--vocab-size'"),
        ("inspect out --row first", "Invalid value for '--row': expected an integer; got 'first'"),
        ("inspect", "Missing argument 'FOLDER' (see seampack inspect --help)"),
        ("segment apply --n-best 0", "Invalid value for '--n-best': expected an integer from 1 to 1,000; got '0'"),
        ("segment apply --n-best 2 --posteriors", "--posteriors and --n-best: give one of the two"),
        ("models train ranmask -o out", "Missing option '--data' (see seampack models train --help)"),
    ],
)
def test_wrong_usage_exits_with_2(call: Run, arguments: str, message: str, tmp_path: Path) -> None:
    assert message in failed(call(*arguments.split()), 2)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (ConfigError("a: expected b;\ngot c"), 1, "a: expected b; got c"),
        (OSError(28, "No space left on device", "out/x"), 1, "out/x: No space left on device"),
        (MemoryError(), 1, "out of memory"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 9 bytes"), 1, "out of memory"),
        (KeyboardInterrupt(), 130, "interrupted; the output is unchanged"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_an_error_is_one_line_and_an_exit_code(
    call: Run, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, message: str
) -> None:
    def fail(**options: Any) -> None:
        raise error

    monkeypatch.setattr(pack_command.pack, "callback", fail)
    assert failed(call("pack", CORPUS, "-o", "out"), code) == message


def test_a_command_may_have_its_own_message_for_an_interrupt(call: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**options: Any) -> None:
        set_interrupted("interrupted; continue with --resume")
        raise KeyboardInterrupt

    monkeypatch.setattr(cli.segment.commands["train"], "callback", fail)
    assert failed(call("segment", "train", "a", "-o", "out"), 130) == "interrupted; continue with --resume"


def test_an_unexpected_error_keeps_its_traceback(call: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**options: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(pack_command.pack, "callback", fail)
    with pytest.raises(ZeroDivisionError):
        cli.main(["pack", "a", "-o", "out"])


def test_warnings_of_libraries_are_lines_on_stderr(call: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def warn(**options: Any) -> None:
        with warnings.catch_warnings(action="always"):
            warnings.warn("two\nlines", UserWarning, stacklevel=1)

    monkeypatch.setattr(pack_command.pack, "callback", warn)
    result = call("pack", CORPUS, "-o", "out")
    assert (result.returncode, result.stdout) == (0, b"")
    assert result.stderr == b"seampack: warning: two lines\n"


def test_a_reader_that_closes_stdout_early_ends_the_run_silently(tmp_path: Path) -> None:
    seampack.pack(CORPUS, out=tmp_path / "out", seq_len=64)
    rows = [argument for n in range(100) for argument in ("--row", n)]
    process = subprocess.Popen(
        command("inspect", "out", *rows),
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        pipesize=4096,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"row 0\n"
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == b""
    assert process.wait(60) == 141
    process.stderr.close()


@pytest.mark.parametrize(("target", "message"), [(">&-", b""), (">/dev/full", b"seampack: No space left on device\n")])
def test_a_stdout_that_takes_nothing_gets_no_traceback(tmp_path: Path, target: str, message: bytes) -> None:
    result = shell(f"{SEAMPACK} --version {target}", tmp_path)
    assert (result.stderr, result.returncode) == (message, 1 if message else 0)


FULL = b"seampack: warning: standard output cannot be written: No space left on device; out is complete\n"


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (">/dev/full", FULL),
        ("--json >/dev/full", FULL),
        (">&-", b""),
        ("2>&-", b""),
        ("2>/dev/full", b""),
        (">&- 2>&- <&-", b""),
        ("| true; exit ${PIPESTATUS[0]}", b""),
    ],
)
def test_a_complete_folder_is_a_success(tmp_path: Path, target: str, message: bytes) -> None:
    """Whatever becomes of the report about it."""
    (tmp_path / "a.txt").write_text("some words\n" * 99)
    result = shell(f"{SEAMPACK} pack a.txt -o out --tokenizer bundled --bos none --eos none {target}", tmp_path)
    assert (result.stderr, result.returncode) == (message, 0)
    seampack.PackedFolder(tmp_path / "out").verify()


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.EIO, "?", "report.html"), "report.html: Input/output error"),
        (OSError(errno.EIO, "?"), "Input/output error"),
        (BrokenPipeError(errno.EPIPE, "?"), "Broken pipe"),
    ],
    ids=["file", "other", "socket"],
)
def test_an_error_of_another_file_after_the_output_is_complete(
    call: Run, monkeypatch: pytest.MonkeyPatch, error: OSError, message: str
) -> None:
    """It is not taken for one of standard output, which would be no failure."""

    def fail(**options: Any) -> None:
        set_written("out")
        raise error

    monkeypatch.setattr(pack_command.pack, "callback", fail)
    assert failed(call("pack", CORPUS, "-o", "out"), 1) == message


def test_standard_error_takes_no_file_of_the_run(tmp_path: Path) -> None:
    code = "import os, seampack.cli as c; c._open_closed_descriptors(); print(os.readlink('/proc/self/fd/2'))"
    result = shell(f'{sys.executable} -c "{code}" 2>&-', tmp_path)
    assert result.stdout == b"/dev/null\n"


def test_an_interrupt_after_the_output_is_complete(call: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def interrupt(accounting: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(packed, "accounting_lines", interrupt)
    message = failed(call("pack", CORPUS, "-o", "out", "--tokenizer", "bundled", "--bos", "none", "--eos", "none"), 130)
    assert message == "interrupted; out is complete"
    seampack.PackedFolder(tmp_path / "out").verify()


def test_a_signal_that_is_ignored_stays_ignored(call: Run) -> None:
    """As with nohup, or Ctrl-C in the background of a script."""
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)
    assert call("--version").returncode == 0
    assert {signal.getsignal(number) for number in STOPPING} == {signal.SIG_IGN}


@pytest.mark.parametrize(
    ("arguments", "function", "advice"),
    [
        ("pack a.txt -o out", "packer.packing.pack", "use a smaller --window-tokens, or fewer --threads"),
        ("compare a.txt", "packer.comparison.compare", "use a smaller --window-tokens, or fewer --threads"),
        ("tokenizer train a.txt -o out", "packer.train_tokenizer.train_tokenizer", "train on a part of the corpus"),
        ("segment train a.txt -o out", "segmenter.training.train", "all text is held in memory: give less of it"),
        ("segment distill a.txt --teacher zh -o out", "segmenter.training.distill", "all text is held in memory"),
        ("models train ranmask --data a.txt -o out", "models.data.load", "use less data, or a smaller batch: --set"),
    ],
)
def test_out_of_memory_has_the_advice_of_its_command(
    call: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, arguments: str, function: str, advice: str
) -> None:
    def fail(*positional: object, **named: object) -> None:
        raise MemoryError

    (tmp_path / "a.txt").write_text("a")
    monkeypatch.setattr(f"seampack.{function}", fail)
    result = call(*arguments.split())
    assert result.returncode == 1
    assert result.stderr.decode().splitlines()[-1].startswith(f"seampack: out of memory; {advice}")


LATE = {
    "threads": "threading.Thread(target=lambda: (threading.main_thread().join(), stop())).start()",
    "atexit": "atexit.register(stop)",
}
"""Code that sends a signal while Python shuts down: while it waits for threads, and in a callback."""


@functools.cache
def undisturbed(*arguments: str) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(command(*arguments), capture_output=True, timeout=60, check=False)


@pytest.mark.parametrize("moment", LATE)
@pytest.mark.parametrize("number", STOPPING)
@pytest.mark.parametrize("arguments", [["--version"], ["pack"]], ids=" ".join)
def test_a_signal_after_the_end_is_ignored(moment: str, number: signal.Signals, arguments: list[str]) -> None:
    """The exit code and the output are those of the command, without "Exception ignored in"."""
    code = (
        "import atexit, os, sys, threading; from seampack.cli import program\n"
        f"def stop(): os.kill(os.getpid(), {int(number)})\n"
        f"{LATE[moment]}\n"
        "program()"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, timeout=60, check=False)
    expected = undisturbed(*arguments)
    assert (done.returncode, done.stdout, done.stderr) == (expected.returncode, expected.stdout, expected.stderr)


def test_a_call_within_a_process_does_not_ignore_signals(call: Run) -> None:
    ignored = [signal.getsignal(number) == signal.SIG_IGN for number in STOPPING]  # by nohup, for example
    assert call("--version").returncode == 0
    assert [signal.getsignal(number) == signal.SIG_IGN for number in STOPPING] == ignored


# A command that gets Ctrl-C in a destructor, where Python drops exceptions, and then works on.
IN_A_DESTRUCTOR = """
import signal, sys, time
from seampack.cli import main

class Guard:
    def __del__(self):
        signal.raise_signal(signal.SIGINT)

@main.command()
def work():
    Guard()
    time.sleep(100)

sys.argv = ["seampack", "work"]
main()
"""


def test_a_signal_in_a_destructor_is_not_lost() -> None:
    run = subprocess.run(
        [sys.executable, "-c", IN_A_DESTRUCTOR], capture_output=True, timeout=60, preexec_fn=obey_interrupts
    )
    assert run.returncode == 130
    assert run.stderr == b"seampack: interrupted; the output is unchanged\n"


@pytest.mark.parametrize("shell_name", ["bash", "zsh", "fish"])
def test_a_script_for_completion(run: Run, shell_name: str) -> None:
    result = run(_SEAMPACK_COMPLETE=f"{shell_name}_source")
    assert result.returncode == 0
    assert f"_SEAMPACK_COMPLETE={shell_name}_complete" in result.stdout.decode()


@pytest.mark.parametrize(
    ("words", "completions"),
    [
        ("seampack pack --strat", ["plain,--strategy"]),
        ("seampack pack --strategy con", ["plain,concat"]),
        ("seampack doc", ["plain,doctor"]),
        ("seampack pack cor", ["file,cor"]),
        ("seampack pack a -o pa", ["file,pa"]),
    ],
)
def test_completion(run: Run, words: str, completions: list[str]) -> None:
    given = {"COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)}
    result = run(_SEAMPACK_COMPLETE="bash_complete", **given)
    assert result.stdout.decode().splitlines() == completions
