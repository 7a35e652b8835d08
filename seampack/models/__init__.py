"""Thin training and evaluation adapters on Arrow datasets, for methods beside the two cores.

    dataset -> prepare -> dataset -> train -> artifact -> evaluate -> metrics, rows, tables, pictures

``get("ranmask")`` gives an adapter by name. ``base`` says what every adapter does, ``artifact`` what training leaves on
disk, ``data`` how files become datasets, ``text`` the classifier that the methods on text share. One folder or module
for each method; what it needs is imported when it is used.
"""

from seampack.models.registry import METHODS, get

__all__ = ["METHODS", "get"]
