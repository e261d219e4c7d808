"""The runs of a trial: its evaluations at the rungs of a ladder, and with fresh seeds."""

import json

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "nas_run",
        sa.Column("study", sa.String(), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("rung", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("repeat", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("protocol_digest", sa.String(), nullable=False),
        sa.Column("evaluation_id", sa.Integer(), nullable=True),
        sa.Column("reused", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("study", "number", "rung", "repeat", name="pk_nas_run"),
        sa.ForeignKeyConstraint(
            ["study", "number"], ["nas_trial.study", "nas_trial.number"], name="fk_nas_run_study"
        ),
        sa.ForeignKeyConstraint(
            ["protocol_digest"], ["nas_protocol.digest"], name="fk_nas_run_protocol_digest"
        ),
        sa.ForeignKeyConstraint(
            ["evaluation_id"], ["nas_evaluation.id"], name="fk_nas_run_evaluation_id"
        ),
    )
    op.create_index("ix_nas_run_evaluation_id", "nas_run", ["evaluation_id"])
    _runs_so_far()
    _options_of_samplers()


def _runs_so_far() -> None:
    """Until now a study evaluated at the top of its ladder, once a trial."""
    connection = op.get_bind()
    for name, config in connection.execute(sa.text("SELECT name, config FROM nas_study")).all():
        study = json.loads(config) if isinstance(config, str) else config
        connection.execute(
            sa.text(
                "INSERT INTO nas_run (study, number, rung, repeat, protocol_digest, evaluation_id, "
                "reused) SELECT study, number, :rung, 0, protocol_digest, evaluation_id, "
                "attempt = 0 FROM nas_trial WHERE study = :study"
            ),
            {"study": name, "rung": max(0, len(study.get("fidelities", ())) - 1)},
        )


def _options_of_samplers() -> None:
    """Until now a study held the options of all samplers; now those of another one are refused."""
    connection = op.get_bind()
    table = sa.table("nas_study", sa.column("name", sa.String), sa.column("config", sa.JSON))
    other = {"tpe": ["population_size"], "nsga2": ["startup_trials"]}
    for name, config in connection.execute(sa.select(table.c.name, table.c.config)).all():
        sampler = config.get("sampler", {})
        for option in other.get(sampler.get("name"), ["population_size", "startup_trials"]):
            sampler.pop(option, None)
        connection.execute(sa.update(table).where(table.c.name == name).values(config=config))
