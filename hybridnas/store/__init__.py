"""The database: studies, trials, evaluations, fronts. `Store` is the only way in and out."""

from .liveness import is_alive as is_alive
from .records import FIRST as FIRST
from .records import Assignment as Assignment
from .records import BegunTrial as BegunTrial
from .records import CalibrationRecord as CalibrationRecord
from .records import Ended as Ended
from .records import Evaluation as Evaluation
from .records import FrontRecord as FrontRecord
from .records import Merged as Merged
from .records import Place as Place
from .records import Reason as Reason
from .records import RunRecord as RunRecord
from .records import SessionRecord as SessionRecord
from .records import Status as Status
from .records import StoreInfo as StoreInfo
from .records import StudyContents as StudyContents
from .records import Training as Training
from .records import TrialRecord as TrialRecord
from .store import Store as Store
from .urls import redact as redact
