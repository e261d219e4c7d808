"""Runs of a trial on several tasks."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

KEY = ["study", "number", "rung", "repeat"]


def upgrade() -> None:
    """Until now a study had one task, its own."""
    with op.batch_alter_table("nas_run") as batch:
        batch.add_column(sa.Column("task", sa.String(), nullable=False, server_default=""))
        batch.drop_constraint("pk_nas_run", type_="primary")
        batch.create_primary_key("pk_nas_run", [*KEY, "task"])
    with op.batch_alter_table("nas_run") as batch:
        batch.alter_column("task", server_default=None)
