"""``seampack doctor``: describe the installation and the machine, as a bug report needs it."""

import sys
from typing import Any

import click

from seampack.commands.grouped import PATH
from seampack.commands.options import as_json
from seampack.commands.report import print_json


@click.command()
@click.option(
    "--tokenizer",
    type=PATH,
    metavar="FILE|NAME",
    help="Tokenizer to check: whether it loads, and whether its fast path gives the same ids. By default the bundled "
    "one.",
)
@as_json
def doctor(tokenizer: str | None, as_json: bool) -> None:
    """Check the installation, and describe it for a bug report.

    Shows versions, missing extras, cores, memory, the cache of the kernels, the tokenizer and the temporary folder.
    Names no variables of the environment; the home folder is shown as ~. Exits with code 1 if something that seampack
    needs is broken.
    """
    from seampack.commands.diagnosis import diagnose

    facts = diagnose(tokenizer)
    if as_json:
        print_json(facts)
    else:
        click.echo("\n".join(f"{name:<18}{text}".rstrip() for name, text in _lines(facts)))
    if facts["problems"]:
        sys.exit(1)


def _lines(facts: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the facts as lines for people."""
    kernels, tokenizer, cpu, memory, text = (facts[n] for n in ("kernels", "tokenizer", "cpu", "memory", "text"))
    lines = [(name, facts[name]) for name in ("seampack", "python", "platform")]
    lines += [(f"  {name}", version or "not installed") for name, version in facts["packages"].items()]
    if facts["extras"] is None:
        lines.append(("extras", "not known: seampack runs from a folder, without being installed"))
    for name, missing in (facts["extras"] or {}).items():
        lines.append(
            (f"  [{name}]", "; ".join([*missing, f"pip install 'seampack[{name}]'"]) if missing else "complete")
        )
    limit = "none" if cpu["cgroup_limit"] is None else f"{cpu['cgroup_limit']:g}"
    lines.append(("cores", f"{cpu['cores']}, {cpu['allowed']} allowed (threads of a run); limit of the group: {limit}"))
    sizes = ("total_bytes", "available_bytes", "cgroup_limit_bytes")
    total, available, group = ("not known" if memory[s] is None else f"{memory[s] / 2**30:.1f} GiB" for s in sizes)
    group = "none" if memory["cgroup_limit_bytes"] is None else group
    lines.append(("memory", f"{total}, {available} available; limit of the group: {group}"))
    state = {True: "in the cache", False: "compiled now", None: "loaded before"}[kernels["is_cached"]]
    lines.append(("kernels", "broken" if kernels["seconds"] is None else f"{state}, {kernels['seconds']:.2f} s"))
    for each in kernels["folders"]:
        lines.append(("  cache", f"{each['folder']} ({'writable' if each['writable'] else 'not writable'})"))
    speed = {True: "fast", False: "not fast: tokenizers alone", None: "does not load"}[tokenizer["is_fast"]]
    lines.append(("tokenizer", f"{tokenizer['name']}: {speed}"))
    lines += [("  note", note) for note in tokenizer["notes"]]
    temporary = facts["temporary_folder"]
    if temporary["folder"] is not None:
        lines.append(("temporary folder", f"{temporary['folder']}, {temporary['free_bytes'] / 2**30:.1f} GiB free"))
    lines.append(("text", f"output {text['stdout']}, locale {text['locale']}, names of files {text['file_names']}"))
    lines += [("advice", each) for each in facts["advice"]]
    return [*lines, *(("problem", each) for each in facts["problems"] or ["none found"])]
