"""What a study's own costs of a trial were, and calibrations of proxies."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("nas_trial", sa.Column("costs", sa.JSON(), nullable=True))
    op.create_table(
        "nas_calibrations",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("study", sa.String(), nullable=False),
        sa.Column("proxy_digest", sa.String(), nullable=False),
        sa.Column("judge_digest", sa.String(), nullable=False),
        sa.Column("settings", sa.JSON(), nullable=False),
        sa.Column("result", sa.JSON(), nullable=True),
        sa.Column("began_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_nas_calibrations"),
        sa.ForeignKeyConstraint(["study"], ["nas_study.name"], name="fk_nas_calibrations_study"),
        sa.ForeignKeyConstraint(
            ["proxy_digest"], ["nas_protocol.digest"], name="fk_nas_calibrations_proxy_digest"
        ),
        sa.ForeignKeyConstraint(
            ["judge_digest"], ["nas_protocol.digest"], name="fk_nas_calibrations_judge_digest"
        ),
    )
    op.create_index("ix_nas_calibrations_study", "nas_calibrations", ["study"])
    op.create_index("ix_nas_calibrations_proxy_digest", "nas_calibrations", ["proxy_digest"])
    op.create_index("ix_nas_calibrations_judge_digest", "nas_calibrations", ["judge_digest"])
