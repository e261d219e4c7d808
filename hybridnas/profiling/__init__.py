"""What networks take on this device: time, throughput, memory; and a table to predict time from."""

from .measure import Figures as Figures
from .measure import Profile as Profile
from .measure import fitting as fitting
from .measure import profile as profile
from .setting import Setting as Setting
from .setting import setting_for as setting_for
from .stopwatch import Stopwatch as Stopwatch
from .table import LatencyTable as LatencyTable
from .table import load_table as load_table
from .tabulate import make_table as make_table
