"""The rows of a stream as a dataset of PyTorch."""

from collections.abc import Iterator, Mapping
from typing import Any

from seampack.packer.streaming import PackStream
from seampack.training.iterable import this_worker

try:
    from torch.utils.data import IterableDataset, get_worker_info
except ModuleNotFoundError as error:
    from seampack.errors import MissingExtraError

    raise MissingExtraError("torch", "torch", "seampack.PackedStreamDataset") from error


class PackedStreamDataset(IterableDataset[dict[str, Any]]):
    """The rows of a stream, for torch's DataLoader. Each worker packs a share of the documents.

    Ranks take shares of the stream: ``PackedStreamDataset(stream.share(rank, world_size))``. Their numbers of rows may
    differ.

    ``state_dict`` is exact to the row: in a DataLoader without workers, and with workers in torchdata's
    StatefulDataLoader.
    """

    def __init__(self, stream: PackStream) -> None:
        super().__init__()
        self._whole = stream
        self._stream: PackStream | None = None

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self._of_worker())

    def state_dict(self) -> dict[str, Any]:
        """Return the place of the current iteration; see ``PackStream.state_dict``."""
        return self._of_worker().state_dict(finished=get_worker_info() is not None)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on after the rows that had been given out; see ``PackStream.load_state_dict``."""
        self._of_worker().load_state_dict(state)

    def _of_worker(self) -> PackStream:
        if self._stream is None:
            self._stream = self._whole.share(*this_worker())
        return self._stream
