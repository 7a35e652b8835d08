"""Packing of tokenised ``datasets.Dataset`` objects."""

from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from seampack._version import __version__
from seampack.errors import DataError, MissingExtraError
from seampack.packer.gather import apply_plan
from seampack.packer.plan_config import PlanConfig
from seampack.packer.planning import plan

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict


def pack_dataset(
    dataset: "Dataset | DatasetDict",
    seq_len: int | None = None,
    strategy: str | None = None,
    *,
    config: PlanConfig | None = None,
    columns: list[str] | None = None,
    pads: dict[str, int] | None = None,
    labels: bool = False,
    keep_ends: bool = False,
    group_column: str | None = None,
    split_groups: bool = False,
    **options: Any,
) -> Any:
    """Pack a tokenised dataset with one document per row. Return a Dataset (or DatasetDict).

    Args:
        dataset: A Dataset, or a DatasetDict whose splits are packed one by one.
        seq_len: Length of a row in tokens; overrides ``config``.
        strategy: How documents become rows; overrides ``config``.
        config: The options of planning; by default ``PlanConfig()``.
        columns: The columns to pack, by default all. The first column of lists gives the lengths; columns of texts and
            numbers become lists with the value of each segment's document.
        pads: As in ``apply_plan``.
        labels: As in ``apply_plan``.
        keep_ends: As in ``plan``.
        group_column: Column of integers or texts; documents with the same value stay together, as in ``plan``.
        split_groups: As in ``plan``.
        options: Other fields of PlanConfig; they override ``config``.

    The result has ``seq_lengths``, as from trl's ``pack_dataset``, and ``doc_ids`` (the row of the original dataset),
    ``doc_starts`` and ``repeated``. The whole dataset is planned at once and the result is held in memory; use
    ``pack`` for corpora that do not fit into memory.

    Raises DataError for a column that cannot be packed, ConfigError for an invalid option.
    """
    try:
        import datasets  # heavy, and only needed here
    except ModuleNotFoundError as error:
        raise MissingExtraError("datasets", "datasets", "pack_dataset") from error

    changes = {"seq_len": seq_len, "strategy": strategy, **options}
    config = PlanConfig.given(config, **{name: value for name, value in changes.items() if value is not None})
    if isinstance(dataset, datasets.DatasetDict):
        return datasets.DatasetDict(
            {
                split: pack_dataset(
                    part,
                    config=config,
                    columns=columns,
                    pads=pads,
                    labels=labels,
                    keep_ends=keep_ends,
                    group_column=group_column,
                    split_groups=split_groups,
                )
                for split, part in dataset.items()
            }
        )
    if not isinstance(dataset, datasets.Dataset):
        raise DataError(f"expected a datasets.Dataset or DatasetDict; got {type(dataset).__name__}")
    groups = None if group_column is None else _groups(dataset, group_column)
    table, fields = _tables(dataset, columns)
    if nulls := table.column(0).null_count:
        raise DataError(f"column '{table.column_names[0]}': expected a list in every row; got {nulls} nulls")
    lengths = pc.list_value_length(table.column(0)).to_numpy()
    planned = plan(lengths, config, keep_ends=keep_ends, groups=groups, split_groups=split_groups)
    # Without a fingerprint, datasets would read the whole table again to compute one.
    inputs = repr((__version__, dataset._fingerprint, columns, config, pads, labels, keep_ends, group_column))
    fingerprint = xxhash.xxh3_64(inputs.encode()).hexdigest()
    packed = datasets.Dataset(
        apply_plan(table, planned, pads=pads, labels=labels, fields=fields), fingerprint=fingerprint
    )
    view = dataset.format
    if view["columns"] is not None:
        kept = [name for name in view["columns"] if name in packed.column_names]
        view["columns"] = kept if len(kept) < table.num_columns + len(fields) else None
    packed.set_format(view["type"], view["columns"], view["output_all_columns"], **view["format_kwargs"])
    return packed


def _groups(dataset: "Dataset", name: str) -> list[Any]:
    """Return the values of the column of groups. Raise DataError unless it has an integer or a text in every row."""
    if name not in dataset.column_names:
        raise DataError(f"no column '{name}'; the dataset has {', '.join(dataset.column_names)}")
    values: list[Any] = dataset.select_columns([name]).with_format(None)[:][name]
    if not (all(isinstance(value, int) for value in values) or all(isinstance(value, str) for value in values)):
        raise DataError(f"column '{name}': expected an integer in every row, or a text; got other values")
    return values


def _tables(dataset: "Dataset", columns: list[str] | None) -> tuple[pa.Table, dict[str, pa.Array]]:
    """Return the columns of lists, and those with a text or number for each document."""
    names = list(dict.fromkeys(columns or dataset.column_names))
    for name in names:
        if name not in dataset.column_names:
            raise DataError(f"no column '{name}'; the dataset has {', '.join(dataset.column_names)}")
    selected = dataset.select_columns(names).with_format("arrow")
    table: pa.Table = selected.data.table if selected._indices is None else selected[:]
    fields = {}
    for name in names:
        kind = table.schema.field(name).type
        if pa.types.is_string(kind) or pa.types.is_large_string(kind):
            fields[name] = table[name].cast(pa.large_string()).combine_chunks()
        elif pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind):
            fields[name] = table[name].combine_chunks()
        elif not (pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)):
            raise DataError(
                f"column '{name}': expected lists, texts or numbers; got {kind}; choose the columns with columns=[...]"
            )
    lists = [name for name in names if name not in fields]
    if not lists:
        raise DataError(f"expected a column of lists, such as input_ids; the dataset has {', '.join(names)}")
    return table.select(lists), fields
