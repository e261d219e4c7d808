"""What the parts of hybridnas.layers build: torch's modules.

Apart from the options and their costs, so that those who only count or read architectures need
not wait for torch to be imported: a part imports its module when it builds it.
"""
