"""Tables of results, to replay searches on."""

from .card import Card as Card
from .card import read_table as read_table
from .table import Row as Row
from .table import Table as Table
from .table import Trainings as Trainings
