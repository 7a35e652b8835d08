"""Words of text that is written without spaces, learned from raw text.

    train:   raw text -> units -> chunks -> language model, forward and backward -> artifact
                                                 | posteriors of both directions
                                                 v
                                              student (hashed n-grams, no torch)

    apply:   text -> units -> student, or the lattices of both directions -> decoder -> words, offsets

``training`` runs the first pipeline and ``direction_trainer`` trains one language model; these, ``corpus``,
``teacher`` and ``language_model`` need torch. ``model.Segmenter`` is the second pipeline, ``apply`` runs it over files.
``units`` splits text into units, ``decoders`` combine both directions, ``student`` is the default, ``scripts`` warns of
text that a segmenter has not learned. The dynamic programmes over all segmentations are in ``_kernels``.
"""
