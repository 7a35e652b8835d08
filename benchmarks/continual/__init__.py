"""Parts of ``benchmarks.continual_pretraining``: does the way of packing change what a language model learns?

corpora.py   documents, split before anything is packed, and their tokens
arms.py      the ways of packing that are compared, and their rows
training.py  one training
scoring.py   the loss of every token of whole held-out documents
settings.py  which model, documents, arms and seeds
runs.py      all trainings of a setting, each saved when it is finished
analysis.py  differences to naive concatenation, with intervals
page.py      the tables and the picture of ``docs/packing_and_training.md``
"""
