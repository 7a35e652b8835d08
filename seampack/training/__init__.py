"""Packed rows for training: collation and datasets for PyTorch (extra ``torch``).

packed folder -> PackedDataset, PackedIterableDataset -> rows -> collate -> batch of tensors
"""
