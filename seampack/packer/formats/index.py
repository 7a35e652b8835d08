"""The plan alone, in Arrow IPC streams; ``PackedFolder`` finds the tokens of its rows in the token store."""

from seampack.packer.formats import arrow

IS_MAPPED = False
Writer = arrow.Writer
read = arrow.read
