"""What an architecture costs, in closed form, from the value alone."""

from .macs import Cost as Cost
from .macs import StageCost as StageCost
from .macs import cost as cost
from .macs import head_count as head_count
from .macs import input_size as input_size
