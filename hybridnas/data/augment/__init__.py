"""Parts of an augmentation that treats a batch on its device, each image by numbers of its own.

Everything here is a fixed sequence of tensor operations: shapes follow from shapes alone, nothing
is read back, random numbers come from a torch.Generator (None: the device's own). So a CUDA graph
can hold all of it. What each operation means, to the rounding, is Pillow's; how its numbers are
drawn is timm's.
"""
