"""Write a new revision from the difference between the tables and the newest migration."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from alembic import command
from alembic.config import Config

from gateway.db import Database
from gateway.db.migrate import migrations_dir, upgrade


def main(message: str) -> None:
    """Migrate an empty database to the head and write what the tables say beyond it."""
    with tempfile.TemporaryDirectory() as folder:
        db = Database(f"sqlite:///{Path(folder) / 'revise.db'}")
        config = Config()
        config.set_main_option("script_location", str(migrations_dir()))
        if any((migrations_dir() / "versions").glob("*.py")):
            upgrade(db)
        number = len(list((migrations_dir() / "versions").glob("*.py"))) + 1
        with db.write() as connection:
            config.attributes["connection"] = connection
            command.revision(config, message, autogenerate=True, rev_id=f"{number:04d}")
        db.close()


if __name__ == "__main__":
    main(sys.argv[1])
