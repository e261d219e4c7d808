"""The first tables."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    _studies()
    _evaluations()
    _trials()


def _moment(name: str, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def _studies() -> None:
    op.create_table(
        "nas_study",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("config", sa.JSON(), nullable=False),
        _moment("created_at"),
        sa.PrimaryKeyConstraint("name", name="pk_nas_study"),
    )
    op.create_table(
        "nas_session",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("study", sa.String(), nullable=False),
        sa.Column("host", sa.String(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        _moment("started_at"),
        _moment("last_seen_at"),
        _moment("ended_at", nullable=True),
        sa.Column("end_reason", sa.String(), nullable=True),
        sa.Column("proposals", sa.Integer(), nullable=False),
        sa.Column("redrawn", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_nas_session"),
        sa.ForeignKeyConstraint(["study"], ["nas_study.name"], name="fk_nas_session_study"),
    )
    op.create_index("ix_nas_session_study", "nas_session", ["study"])
    op.create_table(
        "nas_front",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("study", sa.String(), nullable=False),
        _moment("created_at"),
        sa.Column("members", sa.JSON(), nullable=False),
        sa.Column("cost", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_nas_front"),
        sa.ForeignKeyConstraint(["study"], ["nas_study.name"], name="fk_nas_front_study"),
    )
    op.create_index("ix_nas_front_study", "nas_front", ["study"])


def _evaluations() -> None:
    for name in ("nas_architecture", "nas_protocol"):
        op.create_table(
            name,
            sa.Column("digest", sa.String(), nullable=False),
            sa.Column("json", sa.String(), nullable=False),
            _moment("created_at"),
            sa.PrimaryKeyConstraint("digest", name=f"pk_{name}"),
        )
    op.create_table(
        "nas_evaluation",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("architecture_digest", sa.String(), nullable=False),
        sa.Column("protocol_digest", sa.String(), nullable=False),
        sa.Column("token", sa.String(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=True),
        sa.Column("message", sa.String(), nullable=True),
        sa.Column("metrics", sa.JSON(), nullable=False),
        sa.Column("curve", sa.JSON(), nullable=False),
        sa.Column("timing", sa.JSON(), nullable=False),
        sa.Column("machine", sa.JSON(), nullable=False),
        sa.Column("versions", sa.JSON(), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("git_commit", sa.String(), nullable=True),
        sa.Column("weights", sa.JSON(), nullable=True),
        _moment("started_at"),
        _moment("ended_at"),
        sa.PrimaryKeyConstraint("id", name="pk_nas_evaluation"),
        sa.UniqueConstraint("token", name="uq_nas_evaluation_token"),
        sa.CheckConstraint("status IN ('ok', 'failed')", name="ck_nas_evaluation_status"),
        *_digests("nas_evaluation"),
    )
    op.create_index(
        "ix_nas_evaluation_architecture_digest_protocol_digest",
        "nas_evaluation",
        ["architecture_digest", "protocol_digest"],
    )


def _trials() -> None:
    op.create_table(
        "nas_trial",
        sa.Column("study", sa.String(), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("architecture_digest", sa.String(), nullable=False),
        sa.Column("protocol_digest", sa.String(), nullable=False),
        sa.Column("token", sa.String(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("evaluation_id", sa.Integer(), nullable=True),
        _moment("created_at"),
        sa.Column("reason", sa.String(), nullable=True),
        sa.PrimaryKeyConstraint("study", "number", name="pk_nas_trial"),
        sa.UniqueConstraint("token", name="uq_nas_trial_token"),
        sa.ForeignKeyConstraint(["study"], ["nas_study.name"], name="fk_nas_trial_study"),
        sa.ForeignKeyConstraint(
            ["evaluation_id"], ["nas_evaluation.id"], name="fk_nas_trial_evaluation_id"
        ),
        *_digests("nas_trial"),
    )
    op.create_index("ix_nas_trial_evaluation_id", "nas_trial", ["evaluation_id"])


def _digests(table: str) -> list[sa.ForeignKeyConstraint]:
    return [
        sa.ForeignKeyConstraint(
            [f"{kind}_digest"], [f"nas_{kind}.digest"], name=f"fk_{table}_{kind}_digest"
        )
        for kind in ("architecture", "protocol")
    ]
