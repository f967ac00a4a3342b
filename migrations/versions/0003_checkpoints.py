"""checkpoints

Revision ID: 0003
Revises: 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = '0003'
down_revision = '0002'
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table('attempts', schema=None) as batch_op:
        batch_op.add_column(sa.Column('checkpoints', sa.JSON(none_as_null=True), nullable=True))
    with op.batch_alter_table('videos', schema=None) as batch_op:
        batch_op.add_column(sa.Column('continued_from', sa.String(length=40).with_variant(sa.String(length=40, collation='C'), 'postgresql'), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table('videos', schema=None) as batch_op:
        batch_op.drop_column('continued_from')
    with op.batch_alter_table('attempts', schema=None) as batch_op:
        batch_op.drop_column('checkpoints')
