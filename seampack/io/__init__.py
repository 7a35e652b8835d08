"""Input, output, artifacts and ragged arrays, shared by the packer, the segmenter and the models.

path | glob | folder | -  ->  sources: open, decompress, detect  ->  records | tables  ->  the three parts
the three parts  ->  output: a staged file or folder that is renamed when it is complete
"""
