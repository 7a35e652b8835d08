"""Words of text that is written without spaces, learned from raw text.

    train:   raw text -> units -> chunks -> language model, forward and backward -> artifact
                                                 | posteriors of both directions
                                                 v
                                              student (hashed n-grams, no torch)

    lexicon: raw text -> words of the student -> counts -> artifact

    apply:   text -> units -> lattice of student and lexicon, or of both directions with the lexicon -> decoder
             -> words, offsets

``training`` runs the first pipeline, ``training_text`` refuses text with nothing to learn from, ``finished_run`` knows
a run that has ended, and ``direction_trainer`` trains one language model; ``training``, ``direction_trainer``,
``corpus``, ``teacher`` and ``language_model`` need torch. ``lexicon_counts`` is the second pipeline.
``model.Segmenter`` is the third, ``apply`` runs it over files. ``units`` splits text into units, ``decoders`` combine
both directions, ``student`` and ``lexicon`` are the default, ``scripts`` warns of text that a segmenter has not learned
and knows mistyped scripts. The dynamic programmes over all segmentations are in ``_kernels``.
"""
