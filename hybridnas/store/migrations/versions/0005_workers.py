"""Where a trial's current evaluation runs."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """What ran until now is not known."""
    op.add_column("nas_trial", sa.Column("worker", sa.String(), nullable=True))
