"""Add to the site, with their links: BENCHMARKS.md and CHANGELOG.md of the top folder, and the notebook as a page."""

import json
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

TOP = Path(__file__).parent.parent
PAGES = {"BENCHMARKS.md": "benchmarks.md", "CHANGELOG.md": "changelog.md"}
LOADED = re.compile(r'<(?:script|link|img|source|iframe)\b[^>]*\b(?:src|srcset|href)="((?:https?:)?//[^"]*)"')
NOTEBOOK = Path(__file__).parent / "tutorial.ipynb"


def page_of_notebook() -> str:
    """Return the cells of the notebook and their output as Markdown."""
    parts = []
    for cell in json.loads(NOTEBOOK.read_text("utf-8"))["cells"]:
        source = "".join(cell["source"])
        parts.append(f"```python\n{source}\n```" if cell["cell_type"] == "code" else source)
        printed = "".join(line for output in cell.get("outputs", ()) for line in output["text"])
        if printed:
            parts.append(f"```text\n{printed.rstrip()}\n```")
    return "\n\n".join([*parts, f"[This page as a notebook]({NOTEBOOK.name})"])


def on_files(files: Any, config: Any) -> Any:
    """Add the pages; their links into docs/ are links of the site."""
    for name, page in PAGES.items():
        text = (TOP / name).read_text("utf-8")
        content = text.replace("](docs/", "](").replace('="docs/', '="')
        files.append(File.generated(config, page, content=content))
    files.append(File.generated(config, "tutorial.md", content=page_of_notebook()))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Turn links to the pages of the top folder and to the notebook into links of the site."""
    if page.file.src_uri != "tutorial.md":
        markdown = markdown.replace("tutorial.ipynb)", "tutorial.md)")
    folder = posixpath.dirname(page.file.src_uri)
    up = "../" * (folder.count("/") + 2 if folder else 1)
    for name, target in PAGES.items():
        link = posixpath.relpath(target, folder or ".")
        markdown = re.sub(rf"\]\({re.escape(up + name)}", f"]({link}", markdown)
    return markdown


def on_post_page(output: str, page: Any, **_: Any) -> str:
    """Refuse a page that would load something from the network."""
    if loaded := LOADED.search(output):
        raise PluginError(f"{page.file.src_uri}: the page loads {loaded[1]} from the network")
    return output
