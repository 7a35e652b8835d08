"""Methods from papers, as thin adapters that train and evaluate on Arrow datasets.

    dataset -> prepare -> dataset -> train -> artifact -> evaluate -> metrics, rows, tables, pictures

``get("ranmask")`` returns an adapter by name. Shared modules:

    options      the description of a method: its options and columns
    base         the protocol of all adapters, and evaluations
    artifact     the output of training on disk
    data         datasets from files or the hub, and checks of their columns
    training     device, loading of models, and trainers
    text         the text classifier that several methods use

Each method has its own folder. Configs import nothing heavy; the rest is imported when the method is first used.
"""

from seampack.models.registry import METHODS, config_of, get

__all__ = ["METHODS", "config_of", "get"]
