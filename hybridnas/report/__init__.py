"""What a study found, for people: one page or one Markdown file, and the facts behind it."""

from .facts import ReportFacts as ReportFacts
from .files import write_report as write_report
from .gather import facts_of as facts_of
