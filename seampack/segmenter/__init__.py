"""Words of text that is written without spaces, learned from raw text alone.

    train:   raw text -> units -> chunks -> language model, forward and backward -> artifact
                                                 | posteriors of both directions
                                                 v
                                              student (hashed n-grams, no torch)

    apply:   text -> units -> student, or the lattices of both directions -> decoder -> words, offsets

``units`` makes units of text, ``language_model`` and ``training`` need torch, ``decoders`` combine both directions,
``student`` is what runs by default. The dynamic programmes over all segmentations are in ``_kernels``.
"""
